//! Categorizing: transactions per CPU-second, allocations, and the time to load a model.
//!
//! `cargo bench --bench model` asks the shipped model (`models/spending`) about 200,000 distinct made-up texts of about
//! 22 characters, in one thread: normalizing, hashing, memory, scores, softmax and the three best are all in the figure;
//! `scorer alone` leaves memory out, as if no text were known. CPU time of the process is what counts, so that a busy
//! machine does not blur it. Then divan says time and allocations for 1,000 texts: the latter have to be 0.
//!
//! `cargo bench --bench model -- --texts FILE` takes the lines of a file instead. Of texts that the model was trained on only
//! `scorer alone` says something: all others it knows by heart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use divan::{AllocProfiler, Bencher};
use headwater::model::{Buffers, Categorizer, Facts, Model};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const TEXTS: usize = 200_000;
/// Texts that are asked in all.
const ASKED: usize = 1_000_000;

/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let file = arguments.iter().position(|a| a == "--texts").and_then(|at| arguments.get(at + 1));
    let texts =
        file.map_or_else(made_up, |path| std::fs::read_to_string(path).unwrap().lines().map(str::to_string).collect());
    let categorizer = shipped();
    let model = categorizer.model().unwrap();
    let bytes = std::fs::metadata(categorizer.folder.join("model.bin")).unwrap().len();
    let begun = Instant::now();
    let loaded = Model::read(&categorizer.folder.join("model.bin")).unwrap();
    println!(
        "{}: {:.1} MB, loaded in {:.1} ms",
        categorizer.id,
        bytes as f64 / 1e6,
        begun.elapsed().as_secs_f64() * 1e3
    );
    drop(loaded);
    let mut buffers = Buffers::default();
    measure("rules, memory and scorer", &texts, &mut |text| {
        black_box(categorizer.decide(std::iter::once(text), &Facts::default(), &mut buffers));
    });
    let mut buffers = Buffers::default();
    measure("memory and scorer", &texts, &mut |text| {
        buffers.scratch.set_texts([text]);
        black_box(model.answer(&mut buffers, &Facts::default()));
    });
    let mut buffers = Buffers::default();
    measure("scorer alone", &texts, &mut |text| {
        buffers.scratch.set_texts([text]);
        black_box(model.guess(&mut buffers, &Facts::default(), 1.5));
    });
    if file.is_none() {
        divan::main();
    }
}

fn measure(name: &str, texts: &[String], each: &mut dyn FnMut(&str)) {
    texts.iter().take(1_000).for_each(|text| each(text));
    let rounds = ASKED.div_ceil(texts.len());
    let cpu = cpu_secs();
    for _ in 0..rounds {
        texts.iter().for_each(|text| each(text));
    }
    let rate = (rounds * texts.len()) as f64 / (cpu_secs() - cpu);
    println!("{name:24} {rate:>10.0} transactions per CPU-second ({} distinct texts)", texts.len());
}

/// A thousand texts by the whole categorizer: the allocations are what to look at.
#[divan::bench]
fn decide_1000(bencher: Bencher) {
    let (categorizer, texts) = (shipped(), made_up());
    let facts = Facts { amount: Some(-12.5), ..Facts::default() };
    let mut buffers = Buffers::default();
    let mut run = || {
        for text in texts.iter().take(1_000) {
            black_box(categorizer.decide(std::iter::once(text.as_str()), &facts, &mut buffers));
        }
    };
    run();
    bencher.bench_local(run);
}

fn shipped() -> Categorizer {
    Categorizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/spending")).unwrap()
}

/// Texts as terminals print them, none twice, neither before nor after normalizing.
fn made_up() -> Vec<String> {
    const NAMES: [&str; 20] = [
        "MAPLE",
        "NORTHERN",
        "JOE'S",
        "GOLDEN",
        "LAKESIDE",
        "RIVERDALE",
        "SUNRISE",
        "KINGS",
        "QUEEN ST",
        "HARBOUR",
        "PINE TREE",
        "SILVER",
        "OLD MILL",
        "UNION",
        "CEDAR",
        "BLUE SKY",
        "DOWNTOWN",
        "GREEN",
        "EASTERN",
        "ROYAL",
    ];
    const TRADES: [&str; 20] = [
        "PIZZA",
        "HARDWARE",
        "AUTO PARTS",
        "BOOKS",
        "PHARMACY",
        "PARKING",
        "TAXI",
        "HOTEL",
        "PRINTING",
        "FLOWERS",
        "SUPPLY",
        "COFFEE",
        "TOOLS",
        "PAINT",
        "SCHOOL",
        "SPORTS",
        "COMPUTERS",
        "BAKERY",
        "CLINIC",
        "SHOES",
    ];
    let letter = |n: usize| char::from(b'A' + (n % 26) as u8);
    let text = |i: usize| {
        let (name, trade, rest) = (NAMES[i % 20], TRADES[i / 20 % 20], i / 400);
        format!("{name} {trade} {}{}{} #{}", letter(rest), letter(rest / 26), letter(rest / 676), i % 1_000)
    };
    (0..TEXTS).map(text).collect()
}

/// CPU time of this process, from fields 14 and 15 of `/proc/self/stat`.
fn cpu_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_PER_SECOND
}
