#!/bin/sh
# Builds the Debian package of a program that is built already:
#
#     cargo build --locked --release
#     packaging/deb/build.sh target/release/taskwarden target/deb
#
# Needs dpkg-deb, gzip and objdump, and no root. The program must run here: it writes its own manual
# pages and completions. The same inputs make the same package.
set -eu

program=${1:?the program to pack}
out=${2:?the folder for the package}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
maintainer=${TASKWARDEN_MAINTAINER:-taskwarden contributors <taskwarden@users.noreply.github.com>}

for tool in dpkg-deb gzip objdump; do
  command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing; install dpkg, gzip and binutils" >&2; exit 2; }
done
version=$("$program" --version | cut -d' ' -f2)
logged=$(sed -n '1s/^taskwarden (\([^)]*\)).*/\1/p' "$here/changelog")
if [ "$version" != "$logged" ]; then
  echo "build.sh: the program has version $version, and packaging/deb/changelog begins with $logged" >&2
  exit 1
fi
arch=$(dpkg --print-architecture)
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(date -d "$(sed -n 's/^ -- .*>  //p' "$here/changelog" | head -n 1)" +%s)
fi
export SOURCE_DATE_EPOCH

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
umask 022
chmod 755 "$tree"

put() { install -D -m "$1" "$2" "$tree/$3"; }
put 755 "$program" usr/bin/taskwarden
put 644 "$root/systemd/taskwarden.service" usr/lib/systemd/system/taskwarden.service
put 644 "$root/systemd/taskwarden@.service" usr/lib/systemd/system/taskwarden@.service
put 644 "$here/copyright" usr/share/doc/taskwarden/copyright
put 644 "$here/changelog" usr/share/doc/taskwarden/changelog
for page in README.md README.zh-CN.md; do put 644 "$root/$page" "usr/share/doc/taskwarden/$page"; done
(cd "$root" && find docs -type f) | while read -r page; do put 644 "$root/$page" "usr/share/doc/taskwarden/$page"; done
for file in rules.example.yaml rules.example.test.yaml; do
  put 644 "$root/$file" "usr/share/doc/taskwarden/examples/$file"
done
gzip -9n "$tree/usr/share/doc/taskwarden/changelog"

man=$tree/usr/share/man/man1
mkdir -p "$man"
"$program" man --dir "$man"
gzip -9n "$man"/*.1

completions() { mkdir -p "$tree/$(dirname "$2")"; "$program" completions "$1" >"$tree/$2"; }
completions bash usr/share/bash-completion/completions/taskwarden
completions zsh usr/share/zsh/vendor-completions/_taskwarden
completions fish usr/share/fish/vendor_completions.d/taskwarden.fish

# To begin with, the example's rules only say what they would do.
mkdir -p "$tree/etc/taskwarden"
sed '1d; s/^version: 1$/&\nmode: dry_run # says what would be done; `live` does it/; s/^# The rules that `taskwarden demo` runs; .*/# Put the address of your server and its token here, and see \/usr\/share\/doc\/taskwarden./' \
  "$root/rules.example.yaml" >"$tree/etc/taskwarden/rules.yaml"
"$program" check --deny warnings --quiet "$tree/etc/taskwarden/rules.yaml"

# The newest symbols that the program asks for tell the oldest libraries that it runs with; a static
# one asks for none.
newest() { objdump -T "$program" 2>/dev/null | grep -o "$1_[0-9.]*" | sort -uV | tail -n 1 | cut -d_ -f2; }
glibc=$(newest GLIBC)
gcc=$(newest GCC)
depends=
[ -z "$glibc" ] || depends="libc6 (>= $glibc)"
[ -z "$gcc" ] || depends="$depends, libgcc-s1 (>= $gcc)"

mkdir "$tree/DEBIAN"
{
  echo "Package: taskwarden"
  echo "Version: $version"
  echo "Architecture: $arch"
  echo "Maintainer: $maintainer"
  echo "Installed-Size: $(du -k -s --apparent-size --exclude=DEBIAN "$tree" | cut -f1)"
  [ -z "$depends" ] || echo "Depends: $depends"
  cat "$here/control"
} >"$tree/DEBIAN/control"
echo /etc/taskwarden/rules.yaml >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find etc usr -type f ! -path etc/taskwarden/rules.yaml -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
chmod 644 "$tree/DEBIAN/control" "$tree/DEBIAN/conffiles" "$tree/DEBIAN/md5sums" "$tree/etc/taskwarden/rules.yaml"

mkdir -p "$out"
package=$out/taskwarden_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
