//! Connections: how many, from whom, and how long one may dawdle.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;

use super::doors::Peer;

/// How many connections there may be at once, and how many of them from one address.
const CONNECTIONS: usize = 128;
const OF_ONE: usize = 64;

/// How long a caller may take to send the head of a request, also of the next one on a connection.
const HEAD: Duration = Duration::from_secs(15);

/// How long a caller may take nothing of an answer that waits for them.
const TAKES_NOTHING: Duration = Duration::from_secs(30);

/// How long a connection may go on after it was told to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes, and the most lines in it.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_LINES: usize = 64;

/// How long it is waited when the system gives no more connections.
const NO_MORE: Duration = Duration::from_secs(1);

/// Serves until it is dropped; connections that are open then end after what they are at.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let counts = Counts::default();
    // Whoever watches it learns of the end when this function ends, however it does.
    let (_open, ending) = watch::channel(());
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Somebody who went again at once, or no more files to open.
            tokio::time::sleep(NO_MORE).await;
            continue;
        };
        let peer = address.ip().to_canonical();
        let Some(place) = counts.take(peer) else { continue };
        let router = router.clone().layer(Extension(Peer(peer)));
        let ending = ending.clone();
        tokio::spawn(async move {
            let _place = place;
            connection(stream, router, ending).await;
        });
    }
}

async fn connection(stream: TcpStream, router: Router, mut ending: watch::Receiver<()>) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TAKES_NOTHING));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES);
    let io = TokioIo::new(Box::pin(stream));
    let mut work = pin!(http.serve_connection(io, TowerToHyperService::new(router)));
    // Errors are those of callers who went, or who send what is no HTTP.
    tokio::select! {
        _ = work.as_mut() => return,
        _ = ending.changed() => {}
    }
    work.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL, work).await;
}

/// How many connections there are.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place, until it is dropped.
struct Place(Counts, IpAddr);

impl Counts {
    fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_this = counts.get(&peer).copied().unwrap_or(0);
        if of_this >= OF_ONE || counts.values().sum::<usize>() >= CONNECTIONS {
            return None;
        }
        counts.insert(peer, of_this + 1);
        Some(Place(self.clone(), peer))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(Counts(counts), peer) = self;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_their_share_of_connections() {
        let counts = Counts::default();
        let of = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut places: Vec<Place> = (0..OF_ONE).map(|_| counts.take(of(1)).unwrap()).collect();
        assert!(counts.take(of(1)).is_none());
        places.extend((0..CONNECTIONS - OF_ONE).map(|_| counts.take(of(2)).unwrap()));
        assert!(counts.take(of(3)).is_none(), "there are enough");
        places.clear();
        assert!(counts.take(of(1)).is_some());
        assert!(counts.0.lock().unwrap().is_empty());
    }
}
