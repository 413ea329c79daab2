#!/bin/sh
# Tries the package under a systemd of its own: in a container that is booted from a fresh Debian,
# installs it, starts, reloads, wedges, kills, upgrades, removes and purges it.
#
#     packaging/deb/try-systemd.sh target/deb/taskwarden_0.1.0_amd64.deb
#
# Needs root, systemd-nspawn and mmdebstrap, and a Debian mirror (MIRROR) to fetch some 80 MB from;
# ROOT names a folder that is made so once and used again. Says so and ends with 77 where something of
# that is not to be had.
set -eu

package=$(realpath "${1:?the package}")
skip() {
  echo "try-systemd.sh: skipped, $*"
  exit 77
}
[ "$(id -u)" = 0 ] || skip "only root can boot a container"
command -v systemd-nspawn >/dev/null || skip "there is no systemd-nspawn here (systemd-container)"
kept=${ROOT:-}
root=${ROOT:-$(mktemp -d)}
if [ ! -e "$root/usr/lib/systemd/systemd" ]; then
  command -v mmdebstrap >/dev/null || skip "there is no mmdebstrap here"
  mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,procps bookworm \
    "$root" "${MIRROR:-http://deb.debian.org/debian}" || skip "no Debian could be fetched"
fi

container=
finish() {
  [ -z "$container" ] || { kill -TERM "$container" 2>/dev/null && wait "$container" || true; }
  [ -n "$kept" ] || rm -rf "$root"
}
trap finish EXIT
cp "$package" "$root/root/taskwarden.deb"

# Runs inside. `taskwarden@second` is an instance of the template.
cat >"$root/root/try" <<'INSIDE'
set -eu
fail() { echo "FAILED: $*"; journalctl -u 'taskwarden*' -o cat --no-pager | tail -n 30; exit 1; }
of() { systemctl show --value -p "$2" "$1"; }
reaches() { # UNIT PROPERTY VALUE
  for _ in $(seq 150); do [ "$(of "$1" "$2")" = "$3" ] && return; sleep 0.1; done
  fail "$1: $2 is $(of "$1" "$2"), not $3"
}
units='taskwarden taskwarden@second'
dpkg -i /root/taskwarden.deb >/root/log 2>&1 || { cat /root/log; fail "it cannot be installed"; }
! grep 'self-test failed' /root/log || fail "its own check"

# Without a token it cannot work, and does not try again and again.
! systemctl start taskwarden 2>/dev/null || fail "it starts without a token"
reaches taskwarden ExecMainStatus 78
reaches taskwarden NRestarts 0

cp /etc/taskwarden/rules.yaml /etc/taskwarden/second.yaml
for name in environment second.environment; do (umask 077; echo OPENLIST_TOKEN=x >/etc/taskwarden/$name); done
systemctl enable --now $units 2>/dev/null
for unit in $units; do
  systemctl reload $unit || fail "$unit does not reload"
done
# The socket of a daemon with a dynamic user, asked by root.
taskwarden status --state-dir /var/lib/taskwarden >/root/log || [ $? = 3 ] || fail "status"
grep -q 'AWAY since' /root/log || fail "status tells nothing"
taskwarden backup --state-dir /var/lib/taskwarden /root/copy.db || fail "backup"

# Broken rules: reload says no, and the daemon goes on.
cp /etc/taskwarden/rules.yaml /root/rules.yaml
echo 'version: 2' >/etc/taskwarden/rules.yaml
! systemctl reload taskwarden 2>/dev/null || fail "broken rules are taken"
reaches taskwarden ActiveState active
cat /root/rules.yaml >/etc/taskwarden/rules.yaml
systemctl reload taskwarden || fail "mended rules are not taken"

# A wedged daemon is started again by the watchdog, and a killed one by itself.
mkdir -p /run/systemd/system/taskwarden.service.d
printf '[Service]\nWatchdogSec=4s\nRestartSec=1\n' >/run/systemd/system/taskwarden.service.d/soon.conf
systemctl daemon-reload
systemctl restart taskwarden
sleep 6
reaches taskwarden NRestarts 0
kill -STOP "$(of taskwarden MainPID)"
reaches taskwarden NRestarts 1
reaches taskwarden ActiveState active
kill -KILL "$(of taskwarden MainPID)"
reaches taskwarden NRestarts 2
reaches taskwarden ActiveState active
rm -r /run/systemd/system/taskwarden.service.d

# An upgrade starts both anew; a removal stops both; a purge leaves only what the user wrote.
before="$(of taskwarden MainPID) $(of taskwarden@second MainPID)"
dpkg -i /root/taskwarden.deb >/root/log 2>&1 || { cat /root/log; fail "the upgrade"; }
for unit in $units; do reaches $unit ActiveState active; done
for old in $before; do ! kill -0 "$old" 2>/dev/null || fail "process $old outlived the upgrade"; done
systemctl stop taskwarden
reaches taskwarden Result success
systemctl start taskwarden
dpkg --remove taskwarden >/root/log 2>&1 || { cat /root/log; fail "the removal"; }
! pgrep -a taskwarden || fail "a daemon outlived the removal"
dpkg --purge taskwarden >/root/log 2>&1 || { cat /root/log; fail "the purge"; }
rm -r /etc/taskwarden/second.yaml
rmdir /etc/taskwarden
left=$(find / -xdev -name '*taskwarden*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/tmp/*')
[ -z "$left" ] || fail "left: $left"
echo "started, reloaded, restarted by the watchdog, upgraded, stopped, removed; nothing is left"
INSIDE

systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --machine="taskwarden-$$" \
  >"$root/root/console" 2>&1 &
container=$!
init=
for _ in $(seq 100); do
  init=$(pgrep -P "$container" | head -n 1) || true
  if [ -n "$init" ] && nsenter -a -t "$init" systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded'; then break; fi
  kill -0 "$container" 2>/dev/null || { tail -n 5 "$root/root/console"; skip "no container can be booted here"; }
  sleep 0.2
done
nsenter -a -t "$init" sh /root/try
