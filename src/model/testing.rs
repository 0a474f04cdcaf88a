//! A small made-up data set and a model of it, for the tests of this room.

use super::*;

const SHOPS: [(&str, &[&str]); 4] = [
    ("food", &["JOE'S PIZZA", "PIZZA PALACE", "BURGER BARN", "NOODLE BAR", "CAFE SOLO", "CAFÉ LUNA", "PASTA POINT"]),
    ("fuel", &["PETRO CANADA", "SHELL STATION", "ESSO FUEL", "GAS PLUS", "FUEL MART", "PIONEER GAS"]),
    ("books", &["BOOK CITY", "THE BOOK SHELF", "INDIGO BOOKS", "PAGE ONE BOOKS", "READERS DEN"]),
    ("tools", &["HAMMER HARDWARE", "HOME HARDWARE", "TOOL TOWN", "NUTS AND BOLTS", "LUMBER YARD"]),
];

pub fn tsv() -> String {
    let mut text = "period\tmerchant\tamount\tcategory\n".to_string();
    for month in 1..=10 {
        for (category, names) in SHOPS {
            for (i, name) in names.iter().enumerate().filter(|(i, _)| (i + month) % 3 != 0) {
                let line = format!("2024-{month:02}\t{name} #{}\t{}.5\t{category}\n", 100 * month + i, 3 * i);
                text.push_str(&line.repeat(1 + i));
            }
        }
    }
    text
}

pub fn columns() -> Columns {
    Columns {
        text: vec!["merchant".into()],
        label: "category".into(),
        amount: Some("amount".into()),
        period: Some("period".into()),
        ..Columns::default()
    }
}

pub fn dataset(text: &str) -> Dataset {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.tsv");
    std::fs::write(&path, text).unwrap();
    Dataset::read(&[path], &columns()).unwrap()
}

pub fn settings() -> Settings {
    let features = FeatureSpec { bits: 12, ..FeatureSpec::default() };
    Settings { features, epochs: 4, folds: 2, holdout: 0.2, ..Settings::default() }
}

pub fn trained(data: &Dataset, settings: &Settings) -> Model {
    train("shops", "1.0.0", data, &data.rows, settings, &mut |_, _| {}).unwrap()
}
