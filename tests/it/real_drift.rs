//! Drift where it is known to have happened: a city's card payments before and in the year 2020.
//!
//! A model that was trained up to 2018 sees 2019 and 2020 month by month; the population stability index has to raise its
//! first alarm in 2020-04, when offices had closed, and none before. The data is not part of this repository:
//! `HEADWATER_TEST_ML` names the folder that holds it, and without it the test says that it skips. Takes about a minute.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headwater::model::drift::{Shares, Window};
use headwater::model::{Buffers, Columns, Dataset, Facts, FeatureSpec, Settings, train};

const LIMIT: f64 = 0.25;

#[test]
fn the_first_alarm_is_in_april_2020() {
    let Some(folder) = std::env::var_os("HEADWATER_TEST_ML").map(PathBuf::from) else {
        println!("skipped: HEADWATER_TEST_ML is not set");
        return;
    };
    let columns = Columns {
        text: vec!["merchant".into()],
        label: "category".into(),
        period: Some("file_month".into()),
        drop_labels: vec!["uncategorized".into()],
        ..Columns::default()
    };
    let files = ["pcard_2011_2015.tsv.gz", "pcard_2016_2020.tsv.gz"].map(|name| folder.join(name));
    let data = Dataset::read(&files, &columns).unwrap();
    let known: Vec<_> = data.rows.iter().filter(|row| data.period(row) < "2019").copied().collect();
    let features = FeatureSpec { bits: 14, ..FeatureSpec::default() };
    let settings = Settings { features, epochs: 3, holdout: 0.0, folds: 0, ..Settings::default() };
    let model = train("spending", "1.0.0", &data, &known, &settings, &mut |_, _| {}).unwrap();
    let training = model.training_mix().expect("a new model tells its training mix");
    let last_year = known.iter().filter(|row| data.period(row) >= "2018").count();
    assert_eq!(training.iter().sum::<u64>(), last_year as u64);

    let mut months: BTreeMap<&str, Window> = BTreeMap::new();
    let mut buffers = Buffers::default();
    for row in data.rows.iter().filter(|row| data.period(row) >= "2019") {
        buffers.scratch.set_normal(data.text(row));
        let answer = model.answer(&mut buffers, &Facts::default());
        let month = months.entry(data.period(row)).or_insert_with(|| Window::new(model.info.classes.len()));
        month.add_answer(&answer, answer.best().1 >= model.info.threshold);
    }
    let mut alarms = Vec::new();
    for (month, window) in &months {
        let shares = window.shares(Some(&training));
        let Shares { rows, unseen, psi, .. } = shares;
        println!("{month} {rows:5} rows, new texts {unseen:.3}, PSI {:.3}", psi.unwrap());
        alarms.extend(shares.psi.filter(|psi| *psi > LIMIT).map(|_| *month));
    }
    assert_eq!(months.len(), 24);
    assert_eq!(alarms.first(), Some(&"2020-04"), "alarms: {alarms:?}");
}
