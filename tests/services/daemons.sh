# shellcheck shell=bash
# One block for each service: `run_NAME` starts the process in $DIR, `ready_NAME` says whether it serves requests.
# Calling `run_NAME` again after the process has died starts it on the same port and the same data.
#
# Settings favour quick starts and repeatable tests on a machine shared with a build: small heaps, one replica, no fsync
# where the promise under test is "survives kill -9 of the process", not "survives loss of power".
# Sourced after `lib.sh`; needs DIR and the *_PORT variables of $DIR/ports.
# shellcheck disable=SC2153

as_postgres=()
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root. setpriv replaces itself by the command: the recorded pid is the postmaster's.
    as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi

run_postgres() {
    local bin
    bin=$(postgres_bin)
    if [ ! -d "$DIR/postgres" ]; then
        mkdir "$DIR/postgres"
        if [ "$(id -u)" = 0 ]; then chown postgres: "$DIR/postgres"; fi
        "${as_postgres[@]}" "$bin/initdb" -D "$DIR/postgres/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
            --no-sync >"$DIR/postgres.log" 2>&1
    fi
    # Only its zombie may be left of a killed postmaster, and PostgreSQL takes that for a running one. Its other check, that
    # nobody is attached to the old shared memory, stays in force.
    rm -f "$DIR/postgres/data/postmaster.pid"
    launch postgres "${as_postgres[@]}" "$bin/postgres" -D "$DIR/postgres/data" -p "$POSTGRES_PORT" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c wal_level=logical -c max_connections=200 \
        -c max_replication_slots=64 -c max_wal_senders=64 -c fsync=off -c full_page_writes=off -c timezone=UTC
}

ready_postgres() {
    psql -X -q -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d postgres -c 'SELECT 1'
}

run_mariadb() {
    local user=()
    if [ "$(id -u)" = 0 ]; then user=(--user=root); fi
    if [ ! -d "$DIR/mariadb" ]; then
        mariadb-install-db --no-defaults "${user[@]}" --datadir="$DIR/mariadb" --auth-root-authentication-method=normal \
            --skip-test-db --innodb-log-file-size=16M >"$DIR/mariadb.log" 2>&1
    fi
    launch mariadb "$(mariadb_server)" --no-defaults "${user[@]}" --datadir="$DIR/mariadb" --port="$MARIADB_PORT" \
        --bind-address=127.0.0.1 --socket="$DIR/mariadb.sock" --pid-file="$DIR/mariadb/server.pid" \
        --server-id=7 --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL --gtid-strict-mode=ON \
        --default-time-zone=+00:00 --character-set-server=utf8mb4 --innodb-log-file-size=16M --innodb-buffer-pool-size=64M \
        --innodb-flush-log-at-trx-commit=2 --performance-schema=OFF
}

ready_mariadb() {
    mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$MARIADB_PORT" -u root -e 'SELECT 1'
}

# java_main HEAP CLASS ARGUMENT…: prints the command line; the class path goes through the environment, unexpanded.
java_main() {
    local heap=$1
    shift
    printf '%s\0' java "-Xmx$heap" "-Xms$heap" -XX:+UseSerialGC -XX:-UsePerfData -XX:TieredStopAtLevel="${JIT_LEVEL:-4}" \
        -Djava.net.preferIPv4Stack=true -Djava.awt.headless=true -Dlog4j2.configurationFile="$HERE/log4j2.properties" "$@"
}

run_kafka() {
    local command
    export CLASSPATH="$KAFKA_JARS/*"
    if [ ! -d "$DIR/kafka" ]; then
        mkdir "$DIR/kafka"
        cat >"$DIR/kafka/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,SASL://127.0.0.1:$KAFKA_SASL_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,SASL://127.0.0.1:$KAFKA_SASL_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
# The same log behind a password, for those who must be refused.
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_bank="right";
log.dirs=$DIR/kafka/data
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A recording is played back with its own, old timestamps: retention by age would delete it while it is being read.
log.retention.ms=-1
# After kill -9 the controller refuses the broker's return until the session of the killed one has expired.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
END
        mapfile -d '' command < <(JIT_LEVEL=1 java_main 128m kafka.tools.StorageTool format \
            -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" -c "$DIR/kafka/server.properties")
        "${command[@]}" >"$DIR/kafka.log" 2>&1 || {
            cat "$DIR/kafka.log" >&2
            die "kafka: the log directory could not be formatted"
        }
    fi
    mapfile -d '' command < <(java_main 512m kafka.Kafka "$DIR/kafka/server.properties")
    launch kafka "${command[@]}"
}

# The broker is in the metadata only once the controller has let it in, which is later than its port is open.
ready_kafka() {
    timeout 5 kcat -b "127.0.0.1:$KAFKA_PORT" -L -J -m 2 2>/dev/null | jq -e '.brokers | length == 1'
}

run_connect() {
    local command
    export CLASSPATH="$KAFKA_JARS/*"
    if [ ! -d "$DIR/connect" ]; then
        mkdir "$DIR/connect"
        cat >"$DIR/connect/worker.properties" <<END
bootstrap.servers=127.0.0.1:$KAFKA_PORT
group.id=connect
listeners=http://127.0.0.1:$CONNECT_PORT
rest.advertised.host.name=127.0.0.1
rest.advertised.port=$CONNECT_PORT
plugin.path=$PLUGINS
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
config.storage.topic=_connect-configs
config.storage.replication.factor=1
offset.storage.topic=_connect-offsets
offset.storage.partitions=1
offset.storage.replication.factor=1
status.storage.topic=_connect-status
status.storage.partitions=1
status.storage.replication.factor=1
offset.flush.interval.ms=1000
END
    fi
    mapfile -d '' command < <(java_main 512m org.apache.kafka.connect.cli.ConnectDistributed "$DIR/connect/worker.properties")
    launch connect "${command[@]}"
}

# Until the worker has joined its group the address answers with a page that is no JSON.
ready_connect() {
    curl -sf -m 5 "http://127.0.0.1:$CONNECT_PORT/connector-plugins" | jq -e 'any(.class | endswith("PostgresConnector"))' &&
        curl -sf -m 5 "http://127.0.0.1:$CONNECT_PORT/connectors" | jq -e 'type == "array"'
}

# Every task of every connector runs; a failed one is started again. Called until it succeeds.
recovered_connect() {
    local url=http://127.0.0.1:$CONNECT_PORT/connectors name
    ready_connect || return 1
    for name in $(curl -sf -m 5 "$url?expand=status" | jq -r '.[] | .status | select(
            .connector.state == "FAILED" or any(.tasks[]; .state == "FAILED")) | .name'); do
        curl -sf -m 10 -X POST "$url/$name/restart?includeTasks=true&onlyFailed=true"
    done
    curl -sf -m 5 "$url?expand=status" | jq -e 'all(.[].status;
        .connector.state == "RUNNING" and (.tasks | length > 0) and all(.tasks[]; .state == "RUNNING"))'
}

run_mongodb() {
    mkdir -p "$DIR/mongodb"
    launch mongodb "$(mongod_path)" --replSet rs0 --bind_ip 127.0.0.1 --port "$MONGODB_PORT" --dbpath "$DIR/mongodb" \
        --nounixsocket --wiredTigerCacheSizeGB 1 --setParameter enableTestCommands=1 \
        --setParameter diagnosticDataCollectionEnabled=false
}

# Initiates the replica set if that has not been done, then waits for the primary: one call is enough.
ready_mongodb() {
    python - "$MONGODB_PORT" <<'END'
import sys, time, pymongo

port = int(sys.argv[1])
admin = pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=2000).admin
if not admin.command("hello").get("setName"):
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    # A single node need not wait long for others before it elects itself after a kill.
    settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 500}
    try:
        admin.command("replSetInitiate", {"_id": "rs0", "members": [member], "settings": settings})
    except pymongo.errors.OperationFailure as failure:
        if failure.codeName != "AlreadyInitialized":
            raise
deadline = time.monotonic() + 20
while not admin.command("hello")["isWritablePrimary"]:
    if time.monotonic() > deadline:
        sys.exit("no primary")
    time.sleep(0.05)
END
}

run_redis() {
    mkdir -p "$DIR/redis"
    launch redis redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --dir "$DIR/redis" --save '' --appendonly yes \
        --appendfsync everysec
}

ready_redis() {
    [ "$(redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping)" = PONG ]
}
