//! Each stage of the main job by itself: events per second and CPU-seconds per million events, over the shipped recording.
//!
//! `cargo bench --bench stages` builds the components of `pipelines/quickstart.yaml`, reads the whole recording, and takes
//! all of its batches through one stage after the other: debezium (decode), raw, categorize, document, sqlite. An event is
//! a message of the recording in every line. CPU is that of the whole process, so that blocking threads count.

// A bench may fail loudly and prints its result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater::pipeline::load;
use headwater::record::Batch;
use headwater::stage::LaneContext;
use headwater::stores::Stores;

fn main() {
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let pipeline = load(Path::new("pipelines/quickstart.yaml"), &headwater::builtin(), &|_: &str| None);
    let pipeline = pipeline.unwrap_or_else(|failure| panic!("{:?}", failure.problems));
    let dir = tempfile::tempdir().unwrap();
    let lane = LaneContext {
        pipeline: pipeline.name.clone(),
        lane: 0,
        lanes: 1,
        batch: pipeline.batch,
        data_dir: dir.path().into(),
        stores: Arc::new(Stores::new(dir.path())),
        state: pipeline.state.clone(),
        shutdown: Default::default(),
        until_end: true,
        accepted: Default::default(),
    };
    let (mut source, mut stages) = pipeline.build().unwrap();
    for (_, stage) in &mut stages {
        stage.open(&lane).await.unwrap();
    }
    source.open(&lane).await.unwrap();

    println!("{:<14} {:>9} {:>9} {:>12} {:>14}", "stage", "events", "records", "events/s", "CPU-s/million");
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut batches = Vec::new();
    while let Some(batch) = source.next().await.unwrap() {
        batches.push(batch);
    }
    let events: usize = batches.iter().map(|batch| batch.messages.len()).sum();
    print("source", events, &batches, start, cpu);
    for (name, stage) in &mut stages {
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut done = Vec::with_capacity(batches.len());
        for batch in batches {
            done.push(stage.process(batch).await.unwrap());
        }
        batches = done;
        print(name, events, &batches, start, cpu);
    }
}

fn print(name: &str, events: usize, batches: &[Batch], start: Instant, cpu: Duration) {
    let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
    let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
    let million = events as f64 / 1e6;
    println!("{name:<14} {events:>9} {records:>9} {:>12.0} {:>14.2}", events as f64 / wall, cpu / million);
}

/// User and system time of this process (`/proc/self/stat`, in ticks of 10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
