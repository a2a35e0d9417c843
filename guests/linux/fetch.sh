#!/usr/bin/env bash
# Fetches Debian's i386 kernel and busybox into FOLDER/packages and unpacks them into FOLDER/root, with a private apt
# root, so that nothing of this machine's own packages or architectures is changed and no privileges are needed.
# Sources and keys are those of this machine, or of DEBIAN_MIRROR and DEBIAN_SUITE where it is not a Debian.
# Ends with 3 where the tools or the packages are not to be had: the caller skips, aloud.
set -euo pipefail

folder=$(mkdir -p "${1:?usage: fetch.sh FOLDER}" && cd "$1" && pwd)

unavailable() {
  echo "fetch.sh: $1" >&2
  exit 3
}

for tool in apt-get apt-cache dpkg-deb; do
  command -v "$tool" >/dev/null || unavailable "there is no $tool here"
done

apt=$folder/apt
mkdir -p "$apt"/{lists/partial,cache/archives/partial,state,etc/sources.list.d,etc/preferences.d} "$folder/packages"
: >"$apt/state/status"
if [ -n "${DEBIAN_MIRROR:-}" ]; then
  echo "deb $DEBIAN_MIRROR ${DEBIAN_SUITE:-bookworm} main" >"$apt/etc/sources.list"
else
  cp /etc/apt/sources.list "$apt/etc/" 2>/dev/null || : >"$apt/etc/sources.list"
  cp /etc/apt/sources.list.d/* "$apt/etc/sources.list.d/" 2>/dev/null || :
fi

options=(
  -o "APT::Architecture=i386" -o "APT::Architectures::=i386"
  -o "Dir::Etc::SourceList=$apt/etc/sources.list" -o "Dir::Etc::SourceParts=$apt/etc/sources.list.d"
  -o "Dir::Etc::PreferencesParts=$apt/etc/preferences.d"
  -o "Dir::State=$apt/state" -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/state/status"
  -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=" -o "Debug::NoLocking=1" -o "Acquire::Languages=none"
)
# One source of several may be in the middle of a change; what counts is whether the packages are found below.
apt-get "${options[@]}" -qq update >&2 || echo 'fetch.sh: not every source could be read' >&2

# The 32-bit kernel without PAE: the newest one that linux-image-686 depends on, unsigned or signed alike.
kernel=$(apt-cache "${options[@]}" depends linux-image-686 2>/dev/null |
  sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-686\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || unavailable 'these sources have no linux-image-686 for i386'

(cd "$folder/packages" && apt-get "${options[@]}" -q download "$kernel" busybox-static >&2) ||
  unavailable "downloading $kernel and busybox-static failed"

rm -rf "$folder/root"
mkdir -p "$folder/root"
for package in "$folder"/packages/"$kernel"_*.deb "$folder"/packages/busybox-static_*.deb; do
  dpkg-deb -x "$package" "$folder/root"
done
echo "${kernel#linux-image-}" >"$folder/release"
echo "$kernel $(basename "$folder"/packages/busybox-static_*.deb)"
