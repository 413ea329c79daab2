#!/bin/sh
# Tries the package on a system of its own: installs it into an empty root that has nothing but a C
# library, a shell and certificates, starts the program there, upgrades, removes and purges it, and
# looks for what is left.
#
#     packaging/deb/try.sh target/deb/taskwarden_0.1.0_amd64.deb
#
# Touches nothing outside the root, and needs dpkg and root, or the right to be root in a namespace.
# Says so and ends with 77 where that is not to be had.
set -eu

package=$(realpath "${1:?the package}")
if ! command -v dpkg >/dev/null; then
  echo "try.sh: skipped, there is no dpkg here"
  exit 77
fi
if [ "$(id -u)" != 0 ]; then
  if ! unshare -r true 2>/dev/null; then
    echo "try.sh: skipped, this user can be root in no namespace"
    exit 77
  fi
  exec unshare -r "$0" "$package"
fi

root=$(mktemp -d)
daemon=
finish() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  rm -rf "$root" "$root".*
}
trap finish EXIT
fail() {
  echo "try.sh: $*" >&2
  exit 1
}

# The empty root.
mkdir -p "$root"/etc/ssl/certs "$root"/usr/bin "$root"/usr/lib "$root"/usr/lib64 "$root"/tmp "$root"/var/lib/dpkg/info \
  "$root"/var/lib/dpkg/updates "$root"/var/lib/dpkg/triggers "$root"/dev
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
: >"$root/dev/null"
certificates=$(find /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem 2>/dev/null | head -n 1)
[ -z "$certificates" ] || cp -L "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
unpacked=$root/tmp/unpacked
dpkg-deb --extract "$package" "$unpacked"
for program in sh rm rmdir; do cp -L "$(command -v $program)" "$root/usr/bin/$program"; done
for program in "$root"/usr/bin/* "$unpacked/usr/bin/taskwarden"; do ldd "$program" 2>/dev/null || true; done |
  grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
rm -rf "$unpacked"
# The libraries count as installed in the version that they have.
for library in libc6 libgcc-s1; do
  dpkg-query --show --showformat='Package: ${Package}\nStatus: install ok installed\nArchitecture: ${Architecture}\nMulti-Arch: same\nMaintainer: x <x@x>\nVersion: ${Version}\nDescription: x\n\n' "$library:$(dpkg --print-architecture)" >>"$root/var/lib/dpkg/status" 2>/dev/null || true
  : >"$root/var/lib/dpkg/info/$library:$(dpkg --print-architecture).list"
done

everything() { (cd "$root" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -print | sort); }
with_dpkg() { PATH=$PATH:/usr/sbin:/sbin dpkg --root="$root" --log=/dev/null "$@" >"$root.log" 2>&1 || { cat "$root.log"; fail "dpkg $*"; }; }
inside() { chroot "$root" "$@"; }

before=$(everything)
with_dpkg --install "$package"
if grep 'the self-test failed' "$root.log"; then fail "the package's own check failed"; fi
inside /usr/bin/taskwarden --version
inside /usr/bin/taskwarden self-test
inside /usr/bin/taskwarden check /etc/taskwarden/rules.yaml

# The program at work, with the rules that the package brings, on a server that is not there.
OPENLIST_TOKEN=x chroot "$root" /usr/bin/taskwarden run --config /etc/taskwarden/rules.yaml \
  --state-dir /var/lib/taskwarden 2>"$root.run" &
daemon=$!
for _ in $(seq 600); do
  if grep -q 'looking after 1 server' "$root.run"; then break; fi
  sleep 0.1
done
grep 'looking after 1 server' "$root.run" || { cat "$root.run"; fail "the daemon does not start"; }
inside /usr/bin/taskwarden backup --state-dir /var/lib/taskwarden /tmp/copy.db
rm "$root/tmp/copy.db"
kill -TERM "$daemon"
wait "$daemon" || { cat "$root.run"; fail "the daemon does not end well"; }
daemon=

# A changed rules file outlives an upgrade and a removal, and what is remembered does too.
echo '# mine' >>"$root/etc/taskwarden/rules.yaml"
with_dpkg --force-confold --install "$package"
grep -q '# mine' "$root/etc/taskwarden/rules.yaml" || fail "an upgrade lost the rules"
with_dpkg --remove taskwarden
grep -q '# mine' "$root/etc/taskwarden/rules.yaml" || fail "the removal lost the rules"
[ -s "$root/var/lib/taskwarden/taskwarden.db" ] || fail "the removal lost the store"
[ ! -e "$root/usr/bin/taskwarden" ] || fail "the removal left the program"
with_dpkg --purge taskwarden
after=$(everything)
if [ "$before" != "$after" ]; then
  printf '%s\n' "$before" >"$root.before"
  printf '%s\n' "$after" | diff "$root.before" - || true
  fail "something is left"
fi

echo "installed, started, upgraded, removed; nothing is left"
