#!/bin/sh
# Prepares this checkout: Debian packages, .venv, and the symlink that makes it importable as a collection.
# Quick when nothing is missing, safe to repeat. `lab/setup.sh matrix` adds the oldest and the newest ansible-core.
set -eu
cd "$(dirname "$0")/.."

oldest_core=2.17.14
newest_core=2.21.5 # needs Python 3.12; without one, the newest is what .venv has

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Serialise: `make test` and `make demo` may be started side by side.
mkdir -p .ansible
if [ -z "${SETUP_LOCKED:-}" ] && command -v flock >/dev/null; then
    SETUP_LOCKED=1 exec flock .ansible/setup.lock sh lab/setup.sh "$@"
fi

packages() {
    command -v dpkg-query >/dev/null || {
        missing=
        for command in git haproxy ip iptables make mmdebstrap podman runc ssh; do
            command -v "$command" >/dev/null || [ -x "/usr/sbin/$command" ] || missing="$missing $command"
        done
        [ -z "$missing" ] || say "not a Debian or Ubuntu: the lab needs these commands, which were not found:$missing"
        return 0
    }
    wanted=$(awk '/^[^#].*platform:dpkg/ { print $1 }' bindep.txt)
    # shellcheck disable=SC2086
    installed=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' $wanted 2>/dev/null || true)"
    missing=
    for package in $wanted; do
        case $installed in *" installed=$package "*) ;; *) missing="$missing $package" ;; esac
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing Debian packages; as root run: apt-get install --no-install-recommends$missing"
        return 0
    fi
    say "installing Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Programs are wanted, not their services: nothing is to listen on this machine because of a set-up.
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        policy=
    else
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt() { apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>.ansible/packages.log 2>&1; }
    : >.ansible/packages.log
    # shellcheck disable=SC2086
    apt update && apt install -y --no-install-recommends $missing || {
        tail -n 20 .ansible/packages.log >&2
        die "apt-get could not install them; all of its output is in .ansible/packages.log"
    }
    [ -z "$policy" ] || rm -f "$policy"
}

# The first interpreter that is new enough: Debian's own before whatever PATH or a version manager puts in front.
python_at_least() { # MINOR CANDIDATE...
    minor=$1
    shift
    for candidate in "$@"; do
        "$candidate" -c "import sys; sys.exit(sys.version_info < (3, $minor))" 2>/dev/null || continue
        command -v "$candidate"
        return 0
    done
    return 1
}

environment() { # DIRECTORY PYTHON REQUIREMENTS...: an environment holding exactly these, remade when they change
    directory=$1 python=$2
    shift 2
    stamp=$({ "$python" -V; cat "$@"; } | cksum)
    if [ "$(cat "$directory/.stamp" 2>/dev/null)" = "$stamp" ] && "$directory/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    say "filling $directory with $("$python" -V)"
    if [ "$directory" = .venv ]; then
        "$directory/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$directory"
        uv_pin=$(grep '^uv==' requirements-dev.txt)
        "$directory/bin/python" -m pip --disable-pip-version-check -q install "$uv_pin"
    else
        .venv/bin/uv venv -q --clear --no-python-downloads -p "$python" "$directory"
    fi
    for file in "$@"; do set -- "$@" -r "$file"; shift; done
    .venv/bin/uv pip install -q -p "$directory/bin/python" "$@"
    echo "$stamp" >"$directory/.stamp"
}

collection() {
    mkdir -p .ansible/collections/ansible_collections/techcorp
    link=.ansible/collections/ansible_collections/techcorp/rag_admin
    [ "$(readlink "$link" 2>/dev/null)" = "$PWD" ] || ln -sfn "$PWD" "$link"
}

matrix() {
    # What plugins and their unit tests need, at .venv's versions; only ansible-core and what it pins differ.
    # Collections come from .venv: ANSIBLE_COLLECTIONS_PATH=.ansible/collections:.venv/lib/python3*/site-packages
    grep -E '^(boto3|botocore|hypothesis|jinja2|pytest|pytest-timeout|pytest-xdist|pyyaml)==' requirements-dev.txt >.ansible/tools.txt
    { cat .ansible/tools.txt; echo "ansible-core==$oldest_core"; } >.ansible/oldest.txt
    { cat .ansible/tools.txt; echo "ansible-core==$newest_core"; } >.ansible/newest.txt
    if .venv/bin/python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))'; then
        environment .venv-oldest .venv/bin/python .ansible/oldest.txt
    elif python=$(python_at_least 10 python3.12 python3.11 python3.10); then
        environment .venv-oldest "$python" .ansible/oldest.txt
    else
        say "no Python 3.10 to 3.12 here: ansible-core $oldest_core cannot be installed"
    fi
    if python=$(python_at_least 12 python3.14 python3.13 python3.12 \
        "$HOME"/.pyenv/versions/3.1[34].*/bin/python "$HOME"/.pyenv/versions/3.12.*/bin/python); then
        environment .venv-newest "$python" .ansible/newest.txt
    else
        say "no Python 3.12 or newer here: the newest ansible-core is the one in .venv"
        ln -sfn .venv .venv-newest
    fi
}

packages
python=$(python_at_least 11 /usr/bin/python3 python3 python3.13 python3.12 python3.11) ||
    die "Python 3.11 or newer is needed (Debian 12 and newer have it: apt-get install python3 python3-venv)"
environment .venv "$python" requirements-dev.txt
collection
case ${1:-} in
matrix) matrix ;;
"") ;;
*) die "unknown argument '$1': expected nothing, or 'matrix'" ;;
esac
