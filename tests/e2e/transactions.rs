//! Whole transactions while Connect is killed with SIGKILL: Debezium goes back to where it last said that it was, and sends
//! again what came after it.

use crate::transactions::{DIRECT, THROUGH_RAW, run};

fn killed(test: &str, stages: &str, store: &str) {
    run(
        test,
        stages,
        |_| store.to_string(),
        |bank, _| {
            std::thread::sleep(std::time::Duration::from_secs(3));
            bank.services.restart("connect");
        },
    );
}

#[test]
fn a_reader_sees_no_old_state_when_debezium_goes_back() {
    killed("tx_back", DIRECT, "");
}

#[test]
fn nor_of_documents_from_a_raw_store() {
    killed("tx_back_raw", THROUGH_RAW, "bank");
}
