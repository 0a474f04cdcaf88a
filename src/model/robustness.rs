//! Generated harm: broken model files and hostile texts. Nothing may panic, hang or give a half-loaded model.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::testing::{dataset, settings, trained, tsv};
use super::*;

fn model() -> &'static Model {
    static MODEL: std::sync::OnceLock<Model> = std::sync::OnceLock::new();
    MODEL.get_or_init(|| {
        let small = Settings { features: FeatureSpec { bits: 8, ..FeatureSpec::default() }, epochs: 1, ..settings() };
        trained(&dataset(&tsv()), &small)
    })
}

/// The same model with rules in front and facts that count.
fn categorizer() -> &'static Categorizer {
    static CATEGORIZER: std::sync::OnceLock<Categorizer> = std::sync::OnceLock::new();
    CATEGORIZER.get_or_init(|| {
        let features = FeatureSpec { bits: 8, amount: true, day: true, ..FeatureSpec::default() };
        let model = trained(&dataset(&tsv()), &Settings { features, epochs: 1, ..settings() });
        let rules =
            b"pattern\tcategory\tmatch\twhen\nCASH\tatm\nPIZZA\tincome\tword\tin\na\tletter\tcontains\n".to_vec();
        let files = [(folder::MODEL.to_string(), model.to_bytes().unwrap()), (folder::RULES.to_string(), rules)];
        let dir = tempfile::tempdir().unwrap();
        folder::write_version(dir.path(), "shops", "1.0.0", "", &files.into()).unwrap();
        Categorizer::load(&dir.path().join("1.0.0")).unwrap()
    })
}

/// A row: its text, amount and day.
fn payment() -> impl Strategy<Value = (String, Facts)> {
    let text = prop_oneof![
        ".{0,60}",
        prop::sample::select(vec!["CASH 7", "PIZZA PALACE 9", "JOE'S PIZZA #1", "Gas Plus", ""]).prop_map(String::from),
    ];
    let amount = prop::option::of(prop::sample::select(vec![-3.0, 0.0, 7.5, 900.0, f64::NAN, f64::INFINITY]));
    let facts = (amount, prop::option::of(1..32u8)).prop_map(|(amount, day)| Facts { amount, day, ..Facts::default() });
    (text, facts)
}

/// One way to break a file; places are shares of its length.
#[derive(Debug, Clone)]
enum Harm {
    Set(f64, u8),
    Cut(f64),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    /// Replaces the first such text of the header.
    Header(&'static str, &'static str),
}

fn harm() -> impl Strategy<Value = Harm> {
    let header = prop::sample::select(vec![
        ("\"bits\":8", "\"bits\":20"),
        ("\"bits\":8", "\"bits\":255"),
        ("\"gram_max\":5", "\"gram_max\":200"),
        ("\"known_texts\":", "\"known_texts\":1"),
        ("\"merchants\":", "\"merchants\":99999999999999999"),
        ("\"slots\":", "\"slots\":1"),
        ("\"blocks\":", "\"blocks\":18446744073709551"),
        ("\"scale\":", "\"scale\":-"),
        ("\"scale\":0.", "\"scale\":300000000000000000000000000000000000000."),
        ("\"classes\":[", "\"classes\":[\"\","),
        ("\"temperature_known\":", "\"temperature_known\":0"),
        ("\"threshold\":0", "\"threshold\":7"),
    ]);
    prop_oneof![
        3 => (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => (0.0..1.0).prop_map(Harm::Cut),
        1 => (0.0..1.0, prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        1 => (0.0..1.0, 1usize..40).prop_map(|(at, len)| Harm::Remove(at, len)),
        2 => header.prop_map(|(from, to)| Harm::Header(from, to)),
    ]
}

fn apply(content: &mut Vec<u8>, harm: &Harm) {
    let place = |at: f64, content: &Vec<u8>| ((content.len() as f64 * at) as usize).min(content.len());
    match harm {
        Harm::Set(at, byte) => {
            let at = place(*at, content);
            if let Some(old) = content.get_mut(at) {
                *old = *byte;
            }
        }
        Harm::Cut(at) => content.truncate(place(*at, content)),
        Harm::Insert(at, bytes) => {
            let at = place(*at, content);
            content.splice(at..at, bytes.iter().copied());
        }
        Harm::Remove(at, len) => {
            let at = place(*at, content);
            content.drain(at..(at + len).min(content.len()));
        }
        Harm::Header(from, to) => replace_in_header(content, from, to),
    }
}

/// Replaces text in the header and sets the header's length anew, so that the reader gets to what was replaced.
fn replace_in_header(content: &mut Vec<u8>, from: &str, to: &str) {
    let Some(at) = content.windows(from.len()).position(|w| w == from.as_bytes()) else { return };
    content.splice(at..at + from.len(), to.bytes());
    let Some(old) = content.get(12..16).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes) else { return };
    let new = old.wrapping_add(to.len() as u32).wrapping_sub(from.len() as u32);
    content[12..16].copy_from_slice(&new.to_le_bytes());
}

proptest! {
    #[test]
    fn harmed_files_are_refused_or_whole(harms in prop::collection::vec(harm(), 1..4)) {
        let bytes = model().to_bytes().unwrap();
        let mut content = bytes[..bytes.len() - 32].to_vec();
        harms.iter().for_each(|harm| apply(&mut content, harm));
        let unchanged = content == bytes[..bytes.len() - 32];
        let mut unsigned = content.clone();
        unsigned.extend_from_slice(&bytes[bytes.len() - 32..]);
        prop_assert_eq!(Model::from_bytes(&unsigned).is_ok(), unchanged);
        // With a checksum that fits, every other check has to hold by itself.
        let checksum = Sha256::digest(&content);
        content.extend_from_slice(&checksum);
        if let Ok(read) = Model::from_bytes(&content) {
            let mut buffers = Buffers::default();
            buffers.scratch.set_texts(["PIZZA PALACE"]);
            let answer = read.answer(&mut buffers, &Facts::default());
            prop_assert!(answer.top.iter().all(|(class, p)| usize::from(*class) < read.info.classes.len() && (0.0..=1.0).contains(p)));
        }
    }

    #[test]
    fn any_text_gets_an_answer_that_other_rows_do_not_change(texts in prop::collection::vec(".{0,60}", 1..8)) {
        let ask = |buffers: &mut Buffers, text: &String| {
            buffers.scratch.set_texts([text.as_str()]);
            model().answer(buffers, &Facts::default())
        };
        let mut buffers = Buffers::default();
        let forward: Vec<Answer> = texts.iter().map(|text| ask(&mut buffers, text)).collect();
        let mut backward: Vec<Answer> = texts.iter().rev().map(|text| ask(&mut buffers, text)).collect();
        backward.reverse();
        prop_assert_eq!(&forward, &backward);
        prop_assert!(forward.iter().flat_map(|a| a.top).all(|(_, p)| (0.0..=1.0).contains(&p)));
    }

    /// Rules, memory, remembered answers and scorer together: what a row gets is a function of that row.
    #[test]
    fn the_order_of_rows_changes_no_verdict(rows in prop::collection::vec(payment(), 1..20), seed in any::<u64>()) {
        let decide = |buffers: &mut Buffers, (text, facts): &(String, Facts)| {
            let verdict = categorizer().decide(std::iter::once(text.as_str()), facts, buffers);
            (verdict.category.clone(), verdict.confidence, verdict.source, verdict.answer)
        };
        let alone: Vec<_> = rows.iter().map(|row| decide(&mut Buffers::default(), row)).collect();
        let mut order: Vec<usize> = (0..rows.len()).chain(0..rows.len()).collect();
        let mut random = seed;
        order.sort_by_cached_key(|_| fit::split_mix(&mut random));
        let mut buffers = Buffers::default();
        for at in order {
            prop_assert_eq!(decide(&mut buffers, &rows[at]), alone[at].clone());
        }
    }
}
