//! CONTRACT.md, "What the endpoints do to a task (the traps)", line by line on the model.

use super::*;

fn error(model: &Model, id: &str) -> String {
    model.view(id).unwrap().error
}

#[test]
fn a_failed_task_is_retried_with_its_error_cleared_and_the_servers_own_count_anew() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 1);
        let id =
            model.add(download("a").fails(4, secs(2), "http status code 503").succeeds(secs(2)));
        model.advance(secs(10));
        assert_eq!(model.state(&id), Some(State::Failed), "{flavour:?}");
        assert_eq!(model.executions(&id).len(), 2, "one try and one retry by the server");
        assert_eq!(error(&model, &id), "http status code 503");

        let other = model.add(download("b").succeeds(secs(60)));
        call(&mut model, Endpoint::Retry, &[&id]);
        assert_eq!(model.state(&id), Some(State::WaitingRetry), "the only worker is busy");
        assert_eq!(error(&model, &id), "");
        model.cancel(&other);
        assert_eq!(model.state(&id), Some(State::Running));
        model.advance(secs(10));
        assert_eq!(model.executions(&id).len(), 4, "the server retried once more by itself");
        call(&mut model, Endpoint::RetryFailed, &[]);
        model.advance(secs(10));
        assert_eq!(model.state(&id), Some(State::Succeeded));
        assert_eq!(model.report().violations(), Vec::<String>::new());
    }
}

#[test]
fn a_retry_of_a_running_or_pending_task_runs_it_a_second_time() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 2, 0);
        let running = model.add(download("a").succeeds(secs(60)));
        model.advance(secs(1));
        assert_eq!(call(&mut model, Endpoint::Retry, &[&running]), Answer::Nothing);
        assert_eq!(model.max_concurrent(&running), 2, "{flavour:?}");
        let pending = model.add(download("b").succeeds(secs(60)));
        assert_eq!(model.state(&pending), Some(State::Pending));
        call(&mut model, Endpoint::RetrySome, &[&pending]);
        model.advance(secs(300));
        assert_eq!(model.max_concurrent(&pending), 2);
        assert_eq!(model.executions(&pending).len(), 2);

        let violations = model.report().violations();
        assert_eq!(violations.len(), 4, "{violations:#?}");
        assert!(violations[0].ends_with("was running: retried while running or pending"));
        assert!(violations[1].ends_with("was pending: retried while running or pending"));
        assert!(violations[2].ends_with("ran twice at once"));
    }
}

#[test]
fn waiting_retry_can_hide_a_running_task() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let id = model.add(download("a").succeeds(secs(60)));
        model.advance(secs(1));
        call(&mut model, Endpoint::Retry, &[&id]);
        assert_eq!(model.state(&id), Some(State::WaitingRetry), "{flavour:?}");
        model.advance(secs(58));
        assert_eq!(model.state(&id), Some(State::WaitingRetry));
        assert!(model.view(&id).unwrap().progress > 90.0, "the first run goes on behind it");
        model.advance(secs(2));
        assert_eq!(model.state(&id), Some(State::Running), "the second one");
        assert_eq!(model.max_concurrent(&id), 1);
    }
}

#[test]
fn a_retry_of_a_succeeded_task_runs_it_again() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let id = model.add(download("a").succeeds(secs(5)));
        model.advance(secs(6));
        call(&mut model, Endpoint::RetrySome, &[&id]);
        assert_eq!(model.state(&id), Some(State::Running), "{flavour:?}");
        let report = model.report();
        assert_eq!(report.task(&id).unwrap().executions_after_success, 1);
        assert!(report.violations()[0].ends_with("was succeeded: retried after success"));
    }
}

#[test]
fn cancel_of_a_running_task() {
    for (flavour, state) in [(Flavour::OpenList, State::Canceled), (Flavour::AList, State::Failed)]
    {
        let mut model = model_with(flavour, 1, 2);
        let id = model.add(download("a").succeeds(secs(100)));
        model.advance(secs(12));
        call(&mut model, Endpoint::Cancel, &[&id]);
        let view = model.view(&id).unwrap();
        assert_eq!((view.state, view.error.as_str()), (state, "context canceled"));
        assert!((view.progress - 12.0).abs() < 1e-6);
        assert_eq!(view.ended, Some(model.now()));
        model.advance(secs(100));
        assert_eq!(model.executions(&id).len(), 1, "a canceled task is not retried by the server");
    }
}

#[test]
fn a_driver_may_take_its_time_to_cancel() {
    for (flavour, state) in [(Flavour::OpenList, State::Canceled), (Flavour::AList, State::Failed)]
    {
        let mut model = model_with(flavour, 1, 0);
        let id =
            model.add(TaskScript { cancel_lag: secs(30), ..download("a").succeeds(secs(100)) });
        call(&mut model, Endpoint::Cancel, &[&id]);
        model.advance(secs(29));
        assert_eq!(model.state(&id), Some(State::Canceling));
        model.advance(secs(1));
        assert_eq!(model.state(&id), Some(state));
    }
}

#[test]
fn cancel_of_a_pending_task_waits_for_a_worker() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let busy = model.add(download("a").succeeds(secs(7200)));
        let id = model.add(download("b").succeeds(secs(5)));
        call(&mut model, Endpoint::CancelSome, &[&id]);
        model.advance(secs(7199));
        assert_eq!(model.state(&id), Some(State::Canceling), "{flavour:?}");
        assert!(listed(call(&mut model, Endpoint::Undone, &[])).contains(&id));
        model.advance(secs(1));
        assert_eq!(model.state(&busy), Some(State::Succeeded));
        assert_eq!(model.state(&id), Some(State::Canceled));
        assert!(model.executions(&id).is_empty());
    }
}

#[test]
fn cancel_of_a_finished_task_is_ignored_by_openlist_and_sticks_on_alist() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let failed = model.add(download("a").fails(1, secs(0), "http status code 404"));
        let succeeded = model.add(download("b").succeeds(secs(1)));
        model.advance(secs(5));
        call(&mut model, Endpoint::CancelSome, &[&failed, &succeeded]);
        model.advance(secs(86400));
        let states = [model.state(&failed), model.state(&succeeded)].map(Option::unwrap);
        match flavour {
            Flavour::OpenList => assert_eq!(states, [State::Failed, State::Succeeded]),
            Flavour::AList => assert_eq!(states, [State::Canceling; 2]),
        }
        assert_eq!(error(&model, &failed), "http status code 404");
        assert_eq!(model.report().violations().len(), 2);
        if flavour == Flavour::AList {
            call(&mut model, Endpoint::Retry, &[&succeeded]);
            assert_eq!(model.state(&succeeded), Some(State::Failed), "though it had succeeded");
            assert_eq!(error(&model, &succeeded), "Get \"http://h/b\": context canceled");
        }
    }
}

#[test]
fn retry_of_a_canceled_task_by_the_servers_setting() {
    for flavour in BOTH {
        for allowed in [false, true] {
            let mut settings = Settings::new(flavour);
            settings.allow_retry_canceled = allowed;
            let mut model = Model::new(settings, start(), 7);
            let id = model.add(download("a").succeeds(secs(100)));
            call(&mut model, Endpoint::Cancel, &[&id]);
            let before = model.view(&id).unwrap();
            model.advance(secs(60));
            assert_eq!(call(&mut model, Endpoint::Retry, &[&id]), Answer::Nothing);
            let after = model.view(&id).unwrap();
            match (flavour, allowed) {
                (_, true) => assert_eq!(after.state, State::Running),
                (Flavour::OpenList, false) => assert_eq!(after, before),
                (Flavour::AList, false) => {
                    assert_eq!(after.state, State::Failed);
                    assert_eq!(after.error, "Get \"http://h/a\": context canceled");
                    assert_eq!(after.started, Some(model.now()));
                }
            }
        }
    }
}

#[test]
fn a_deleted_task_works_on_unseen() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let running = model.add(download("a").succeeds(secs(60)));
        let pending = model.add(download("b").succeeds(secs(60)));
        call(&mut model, Endpoint::DeleteSome, &[&running, &pending]);
        assert!(listed(call(&mut model, Endpoint::Undone, &[])).is_empty(), "{flavour:?}");
        assert_eq!(call(&mut model, Endpoint::Info, &[&running]), Answer::NotFound);
        model.advance(secs(120));
        assert_eq!(model.executions(&running)[0].outcome, Some(Outcome::Succeeded));
        let unseen = &model.executions(&pending)[0];
        assert!(unseen.unseen && unseen.outcome == Some(Outcome::Succeeded));
        assert_eq!(model.report().violations().len(), 2);
    }
}

#[test]
fn canceled_then_deleted_is_fine() {
    let mut model = model_with(Flavour::OpenList, 1, 0);
    let id = model.add(download("a").then(AttemptScript::stall(secs(5))));
    model.advance(secs(600));
    call(&mut model, Endpoint::Cancel, &[&id]);
    call(&mut model, Endpoint::Delete, &[&id]);
    assert_eq!(model.report().violations(), Vec::<String>::new());
}

#[test]
fn clear_and_retry_failed_take_the_whole_kind() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 5, 0);
        let succeeded = model.add(download("a").succeeds(secs(1)));
        let failed = model.add(download("b").fails(1, secs(1), "x"));
        let canceled = model.add(download("c").succeeds(secs(100)));
        call(&mut model, Endpoint::Cancel, &[&canceled]);
        let running = model.add(download("d").succeeds(secs(100)));
        model.advance(secs(5));
        call(&mut model, Endpoint::ClearSucceeded, &[]);
        assert_eq!(model.state(&succeeded), None);
        assert_eq!(model.state(&failed), Some(State::Failed));
        call(&mut model, Endpoint::RetryFailed, &[]);
        assert_eq!(model.state(&failed), Some(State::Running));
        assert_eq!(model.executions(&running).len(), 1);
        model.advance(secs(5));
        call(&mut model, Endpoint::ClearDone, &[]);
        assert_eq!(listed(call(&mut model, Endpoint::Done, &[])), Vec::<String>::new());
        assert_eq!(listed(call(&mut model, Endpoint::Undone, &[])), [running]);
        assert_eq!(model.report().violations(), Vec::<String>::new(), "{flavour:?}");
    }
}

#[test]
fn the_servers_own_retry_goes_straight_on_or_to_the_end_of_the_queue() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 1);
        let first =
            model.add(download("a").fails(1, secs(10), "http status code 503").succeeds(secs(10)));
        let second = model.add(download("b").succeeds(secs(10)));
        model.advance(secs(15));
        let states = [&first, &second].map(|id| model.state(id).unwrap());
        match flavour {
            Flavour::OpenList => assert_eq!(states, [State::Running, State::Pending]),
            Flavour::AList => {
                assert_eq!(states, [State::WaitingRetry, State::Running]);
                assert_eq!(error(&model, &first), "http status code 503");
            }
        }
        model.advance(secs(20));
        assert_eq!(model.executions(&first)[1].trigger, Trigger::ServerRetry);
        assert_eq!(error(&model, &first), "", "a success clears it");
        assert_eq!(model.report().violations(), Vec::<String>::new());
    }
}

#[test]
fn a_stalled_task_runs_for_ever_without_progress() {
    let mut model = model_with(Flavour::OpenList, 1, 0);
    let id = model.add(download("a").then(AttemptScript::stall(secs(60))));
    model.advance(secs(30));
    assert!((model.view(&id).unwrap().progress - 6.0).abs() < 1e-6);
    model.advance(secs(7 * 86400));
    let view = model.view(&id).unwrap();
    assert_eq!(view.state, State::Running);
    assert!((view.progress - 12.0).abs() < 1e-6);
    assert_eq!(view.ended, None);
}

fn persistent(flavour: Flavour) -> Model {
    let mut settings = Settings::new(flavour).pool("offline_download", 2, 0);
    settings.persistence = true;
    Model::new(settings, start(), 7)
}

#[test]
fn a_restart_loses_everything_without_persistence() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 1, 0);
        let id = model.add(download("a").succeeds(secs(1)));
        model.advance(secs(60));
        model.restart();
        assert_eq!(model.state(&id), None, "{flavour:?}");
    }
}

#[test]
fn recovered_tasks_have_lost_error_progress_and_times_and_unfinished_ones_start_again() {
    for flavour in BOTH {
        let mut model = persistent(flavour);
        let failed = model.add(download("a").fails(1, secs(9), "http status code 503"));
        model.advance(secs(60));
        let stalled = model.add(download("b").then(AttemptScript::stall(secs(0))));
        let busy = model.add(download("c").then(AttemptScript::stall(secs(0))));
        let pending = model.add(download("d").succeeds(secs(5)));
        let upload =
            model.add(TaskScript::new("upload", "upload f to [/dst](/)").fails(1, secs(1), "x"));
        model.advance(secs(60));
        let before = model.view(&failed).unwrap();
        assert_eq!((before.error.as_str(), before.total_bytes), ("http status code 503", 100_000));

        model.restart();
        let after = model.view(&failed).unwrap();
        assert_eq!(after.state, State::Failed, "{flavour:?}");
        assert_eq!((after.error.as_str(), after.status.as_str()), ("", ""));
        assert_eq!((after.started, after.ended), (None, None));
        assert!(after.progress < 1e-9);
        assert_eq!(after.total_bytes, if flavour == Flavour::AList { 0 } else { 100_000 });
        assert_eq!(model.state(&upload), None);
        assert_eq!(model.state(&stalled), Some(State::Running), "begun again");
        assert_eq!(model.executions(&busy)[1].trigger, Trigger::Restart);
        assert_eq!(model.state(&pending), Some(State::Pending));
    }
}

#[test]
fn a_kind_is_saved_after_three_quiet_seconds_only() {
    for flavour in BOTH {
        let mut model = persistent(flavour);
        let old = model.add(download("a").fails(1, secs(0), "x"));
        model.advance(secs(10));
        let new = model.add(download("b").fails(1, secs(0), "x"));
        model.advance(secs(2));
        model.restart();
        assert!(model.state(&old).is_some(), "{flavour:?}");
        assert_eq!(model.state(&new), None, "two seconds were not enough");

        let moving = model.add(download("c").succeeds(secs(60)));
        let lost = model.add(download("d").fails(1, secs(0), "x"));
        model.advance(secs(9));
        model.delete(&old);
        model.restart();
        assert_eq!(model.state(&lost), None, "a moving download is never quiet");
        assert_eq!(model.state(&moving), None);
        assert_eq!(model.state(&old), Some(State::Failed), "deleted just before, it comes back");
    }
}

#[test]
fn a_task_that_succeeded_may_come_back_as_failed() {
    for flavour in BOTH {
        let mut model = persistent(flavour);
        let id = model.add(download("a").fails(1, secs(1), "x").succeeds(secs(5)));
        model.advance(secs(10));
        model.add(download("b").succeeds(secs(600)));
        call(&mut model, Endpoint::Retry, &[&id]);
        model.advance(secs(60));
        assert_eq!(model.state(&id), Some(State::Succeeded), "{flavour:?}");
        model.restart();
        assert_eq!(model.state(&id), Some(State::Failed));

        let mut model = persistent(flavour);
        let id = model.add(download("a").succeeds(secs(1)));
        model.advance(secs(10));
        model.remember_as(&id, State::Failed);
        model.restart();
        assert_eq!(model.state(&id), Some(State::Failed), "the knob does the same");
    }
}

#[test]
fn a_task_stuck_in_canceling_is_canceled_after_a_restart() {
    let mut model = persistent(Flavour::AList);
    let id = model.add(download("a").succeeds(secs(1)));
    model.advance(secs(2));
    call(&mut model, Endpoint::Cancel, &[&id]);
    model.advance(secs(10));
    model.restart();
    assert_eq!(model.state(&id), Some(State::Canceled));
}

#[test]
fn users_see_and_touch_only_their_own_tasks() {
    let mut model = model_with(Flavour::OpenList, 5, 0);
    let own = model.add(download("a").by("bob").fails(1, secs(0), "x"));
    let other = model.add(download("b").fails(1, secs(0), "x"));
    model.advance(secs(1));
    let bob = Viewer { name: "bob".to_owned(), admin: false };
    let kind = "offline_download";
    let seen = listed(model.call(&bob, kind, Endpoint::Done, &[], None));
    assert_eq!(seen, std::slice::from_ref(&own));
    let one = std::slice::from_ref(&other);
    assert_eq!(model.call(&bob, kind, Endpoint::Retry, one, None), Answer::NotFound);
    let some = model.call(&bob, kind, Endpoint::RetrySome, &[own.clone(), other.clone()], None);
    assert_eq!(some, Answer::Errors([(other.clone(), "task not found")].into()));
    model.call(&bob, kind, Endpoint::ClearDone, &[], None);
    assert!(model.state(&other).is_some());
    assert!(!model.report().calls[1].applied);
    assert!(model.report().calls[2].applied);
}

#[test]
fn an_id_listed_twice_is_acted_on_twice() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 5, 0);
        let id = model.add(download("a").fails(1, secs(0), "x").succeeds(secs(60)));
        model.advance(secs(1));
        call(&mut model, Endpoint::RetrySome, &[&id, &id]);
        assert_eq!(model.max_concurrent(&id), 2, "{flavour:?}");
        let violations = model.report().violations();
        assert!(violations[0].ends_with("twice in one batch"), "{violations:?}");
        let Answer::Errors(errors) = call(&mut model, Endpoint::DeleteSome, &[&id, &id]) else {
            panic!()
        };
        assert_eq!(errors.get(&id), Some(&"task not found"), "gone by the second time");
    }
}

#[test]
fn the_referee_counts_the_ids_of_a_batch() {
    let mut model = model_with(Flavour::OpenList, 5, 0);
    let ids: Vec<String> = (0..101).map(|n| format!("{n:021}")).collect();
    call(&mut model, Endpoint::RetrySome, &ids.iter().take(100).collect::<Vec<_>>());
    assert!(model.report().violations().is_empty());
    call(&mut model, Endpoint::RetrySome, &ids.iter().collect::<Vec<_>>());
    assert!(model.report().violations()[0].ends_with("101 ids in one batch"));
}

#[test]
fn what_comes_while_the_server_is_down_is_lost() {
    let mut model = persistent(Flavour::OpenList);
    let id = model.add_at(start() + secs(30), download("a").succeeds(secs(5)));
    model.shut_down();
    model.advance(secs(60));
    model.boot();
    assert_eq!(model.state(&id), None);
    let next = model.add(download("b").succeeds(secs(5)));
    model.advance(secs(5));
    assert_eq!(model.state(&next), Some(State::Succeeded));
}

#[test]
fn a_task_can_change_between_a_look_and_a_call() {
    let mut model = model_with(Flavour::OpenList, 5, 0);
    let id = model.add(download("a").fails(1, secs(0), "x").succeeds(secs(60)));
    model.advance(secs(1));
    let person = id.clone();
    model.on_next(
        Phase::After,
        |_, endpoint| endpoint == Endpoint::Done,
        move |model| {
            model.retry(&person);
        },
    );
    assert_eq!(listed(call(&mut model, Endpoint::Done, &[])), std::slice::from_ref(&id));
    assert_eq!(model.state(&id), Some(State::Running));
    assert_eq!(model.report().violations(), Vec::<String>::new(), "a person's doing");
    model.force_state(&id, State::Failed);
    assert_eq!(model.state(&id), Some(State::Failed));
}

#[test]
fn a_storage_that_is_hammered_bans() {
    for prolong in [false, true] {
        let mut settings = Settings::new(Flavour::OpenList).pool("copy", 9, 0);
        settings.throttles = vec![Throttle {
            mount: "/drive".to_owned(),
            starts_per_minute: 2,
            ban: secs(300),
            prolong,
            error: "Too many requests, retryAfterSeconds: {seconds}".to_owned(),
        }];
        let mut model = Model::new(settings, start(), 7);
        let copy = || TaskScript::new("copy", "copy").on("/drive").succeeds(secs(1));
        let ids = [(); 3].map(|()| model.add(copy()));
        model.advance(secs(100));
        assert_eq!(
            ids.each_ref().map(|id| model.state(id).unwrap()),
            [State::Succeeded, State::Succeeded, State::Failed]
        );
        assert_eq!(error(&model, &ids[2]), "Too many requests, retryAfterSeconds: 300");
        model.retry(&ids[2]);
        model.advance(secs(250));
        let rest = if prolong { 50 } else { -150 };
        model.retry(&ids[2]);
        model.advance(secs(1));
        let state = model.state(&ids[2]).unwrap();
        assert_eq!(state, if rest > 0 { State::Failed } else { State::Succeeded }, "{prolong}");
        assert_eq!(model.report().bans["/drive"], 1);
    }
}

#[test]
fn follow_up_work_and_later_arrivals() {
    let mut model = model_with(Flavour::OpenList, 5, 0);
    let transfer = TaskScript::new("offline_download_transfer", "transfer [](/tmp/a) to [/dst](/)");
    let script =
        TaskScript { follow_up: Some(Box::new(transfer)), ..download("a").succeeds(secs(5)) };
    let id = model.add_at(start() + secs(60), script);
    assert_eq!(model.state(&id), None);
    model.advance(secs(66));
    let admin = Viewer::admin();
    let done = model.call(&admin, "offline_download_transfer", Endpoint::Done, &[], None);
    assert_eq!(listed(done).len(), 1);
}

#[test]
fn a_week_with_twenty_thousand_tasks() {
    let mut model = model_with(Flavour::AList, 5, 1);
    for n in 0..20_000_u64 {
        let fails = usize::try_from(n % 4).unwrap();
        model.add_at(
            start() + secs(n * 30),
            download("x").fails(fails, secs(20), "e").succeeds(secs(40)),
        );
    }
    for _ in 0..7 {
        model.advance(secs(86_400));
        call(&mut model, Endpoint::RetryFailed, &[]);
    }
    model.advance(secs(7 * 86_400));
    assert_eq!(listed(call(&mut model, Endpoint::Done, &[])).len(), 20_000);
    assert!(model.report().violations().is_empty());
}

#[test]
fn lists_come_in_no_fixed_order_and_the_same_seed_repeats_them() {
    let answers = || {
        let mut model = model_with(Flavour::OpenList, 5, 0);
        for n in 0..20 {
            model.add(download(&n.to_string()).fails(1, secs(0), "x"));
        }
        model.advance(secs(1));
        [(); 2].map(|()| listed(call(&mut model, Endpoint::Done, &[])))
    };
    let [first, second] = answers();
    assert_ne!(first, second);
    assert_eq!(answers(), [first, second]);
}

/// Whatever anybody does to whichever task and whenever: workers, queues and runs stay consistent,
/// and once it is over nothing is left running but what has stalled.
#[test]
fn the_books_balance_whatever_is_done() {
    for seed in 0..25 {
        let mut rng = rng::Rng::new(seed);
        let flavour = BOTH[rng.below(2)];
        let mut settings = Settings::new(flavour).pool("offline_download", 3, 2);
        settings.persistence = rng.chance(0.7);
        settings.allow_retry_canceled = rng.chance(0.5);
        settings.throttles = vec![Throttle {
            mount: "/drive".to_owned(),
            starts_per_minute: 2,
            ban: secs(60),
            prolong: rng.chance(0.5),
            error: "Too many requests".to_owned(),
        }];
        let mut model = Model::new(settings, start(), seed);
        let mut ids: Vec<String> = Vec::new();
        for _ in 0..400 {
            let script = download("x").fails(rng.below(3), secs(rng.next() % 20), "e");
            let script = match rng.below(4) {
                0 => script.then(AttemptScript::stall(secs(rng.next() % 9))),
                1 => script.on("/drive").succeeds(secs(5)),
                2 => TaskScript { cancel_lag: secs(7), ..script.succeeds(secs(30)) },
                _ => script.succeeds(secs(rng.next() % 3)),
            };
            let some = rng.below(ids.len());
            let some: Vec<&String> = ids.get(some).into_iter().collect();
            match rng.below(20) {
                0..7 => ids.push(model.add(script)),
                7 => ids.push(model.add_at(model.now() + secs(5), script)),
                8 => model.restart(),
                9..14 => model.advance(secs(rng.next() % 15)),
                _ if some.is_empty() => {}
                _ => {
                    call(&mut model, Endpoint::ALL[3 + rng.below(9)], &some);
                }
            }
            model.check_books();
        }
        model.advance(secs(86_400));
        model.check_books();
    }
}
