//! What `check` says of pipelines that could not put transactions together.

use headwater::pipeline::load_text;

/// A pipeline of seven lines and its stages; every problem as `line:column: path message (help)`.
fn problems(consistency: &str, topics: &str, stages: &str, more: &str) -> Vec<String> {
    let text = format!(
        "name: n
consistency: {consistency}
source:
  kafka:
    brokers: b
    topics: [{topics}]
stages: [{stages}]
{more}"
    );
    match load_text("n.yaml", &text, &headwater::builtin(), &|_: &str| None) {
        Ok(_) => Vec::new(),
        Err(failure) => failure.problems.iter().map(ToString::to_string).collect(),
    }
}

const WANTED: &str = "{ transaction: { topic: bank.transaction } }";
const TOPICS: &str = "bank.public.account, bank.transaction, __debezium-heartbeat.bank, bank";
const STAGES: &str = "debezium: {}, mongodb: { uri: 'mongodb://localhost', database: d }";

#[test]
fn what_can_work_is_accepted() {
    for consistency in ["key", WANTED, "{ transaction: { topic: bank.transaction, events: 5, bytes: 1MB, age: 1m } }"] {
        assert_eq!(problems(consistency, TOPICS, STAGES, "lanes: 1"), [""; 0], "{consistency}");
    }
    assert_eq!(problems("key", "other", STAGES, "lanes: 4"), [""; 0]);
}

#[test]
fn everything_has_to_be_in_one_lane() {
    let expected = "8:8: /lanes with `consistency: transaction` there is one lane: a transaction's changes lie in several \
                    partitions, and lanes share those out (leave `lanes` out)";
    assert_eq!(problems(WANTED, TOPICS, STAGES, "lanes: 2"), [expected]);
}

#[test]
fn the_transaction_topic_has_to_be_read_and_to_be_of_the_same_connector() {
    assert_eq!(
        problems(WANTED, "bank.public.account, bank.transactions", STAGES, ""),
        ["2:38: /consistency/transaction/topic the source does not read the topic `bank.transaction` \
          (add it to the source's `topics`: a lane sees only what its pipeline reads)"]
    );
    let found = problems(WANTED, "bank.transaction, shop.public.order", STAGES, "");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("6:32: /source/kafka/topics/1 `shop.public.order` is not of the connector"),
        "{found:?}"
    );
    let found = problems("{ transaction: { topic: transaction } }", "transaction", STAGES, "");
    assert!(
        found[0].contains("/consistency/transaction/topic expected the connector's transaction topic"),
        "{found:?}"
    );
}

#[test]
fn the_option_is_read_strictly() {
    let found = |consistency: &str| problems(consistency, TOPICS, STAGES, "").remove(0);
    assert!(
        found("transaction").starts_with("2:14: /consistency `transaction` needs the connector's transaction topic")
    );
    assert!(found("transactions").contains("expected `key` or `transaction` (did you mean `transaction`?)"));
    assert!(found("[transaction]").contains("expected `key` or `transaction`"));
    assert!(found("{ transaction: { topic: bank.transaction, event: 5 } }").contains("did you mean `events`?"));
    assert!(found("{ transaction: { topic: bank.transaction, events: 0 } }").contains("expected 1 to 1000000"));
    assert!(found("{ transaction: { topic: bank.transaction, bytes: 2GB } }").contains("expected 1KB to 1GB"));
    assert!(found("{ transaction: { topic: bank.transaction, age: 0s } }").contains("expected 1ms to 1h"));
}

#[test]
fn stages_that_cannot_keep_the_promise_are_refused_where_they_stand() {
    let found = problems(WANTED, TOPICS, "debezium: {}, sqlite: { path: a.db }", "");
    assert_eq!(
        found,
        ["7:32: /stages/1/sqlite `sqlite` does not write the documents of a transaction at once and marked \
          (write to `mongodb`, or leave `consistency: transaction` out)"]
    );
    let found =
        problems(WANTED, TOPICS, "debezium: { format: flattened }, mongodb: { uri: 'mongodb://h', database: d }", "");
    assert!(found[0].starts_with("7:20: /stages/0/debezium rows of this format do not tell"), "{found:?}");
    let found = problems(WANTED, TOPICS, "mongodb: { uri: 'mongodb://h', database: d }", "");
    assert!(found[0].contains("no stage tells which transaction a change was made in"), "{found:?}");
}
