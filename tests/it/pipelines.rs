//! Every shipped pipeline and every pipeline of the README is checked with the components of the binary.

use std::path::{Path, PathBuf};

use headwater::pipeline::load_text;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What the shipped files expect to be set; a file that needs more fails here, so that its header says so.
fn variables(name: &str) -> Option<String> {
    let value = match name {
        "MONGODB_URI" => "mongodb://localhost:27017/?replicaSet=rs0",
        "KAFKA_BROKERS" => "localhost:9092",
        _ => return None,
    };
    Some(value.to_string())
}

fn check(file: &str, text: &str) -> Vec<String> {
    match load_text(file, text, &headwater::builtin(), &variables) {
        Ok(_) => Vec::new(),
        Err(failure) => failure.problems.iter().map(|p| format!("{file}:{p}")).collect(),
    }
}

fn yaml_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
}

/// The fenced YAML blocks of a Markdown text that are whole pipelines, with their first line's number.
fn pipelines_of(markdown: &str) -> Vec<(usize, String)> {
    let (mut blocks, mut block) = (Vec::new(), None::<(usize, String)>);
    for (index, line) in markdown.lines().enumerate() {
        match &mut block {
            None if line.trim() == "```yaml" => block = Some((index + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(block.take()),
            Some((_, text)) => text.extend([line, "\n"]),
        }
    }
    let has = |text: &str, key: &str| text.lines().any(|line| line.starts_with(key));
    blocks.retain(|(_, text)| has(text, "source:") && has(text, "stages:"));
    blocks
}

#[test]
fn every_shipped_pipeline_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    yaml_files(&root.join("pipelines"), &mut files);
    assert!(!files.is_empty());
    let check = |path: &PathBuf| check(&path.display().to_string(), &std::fs::read_to_string(path).unwrap());
    let problems: Vec<_> = files.iter().flat_map(check).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_pipeline_of_the_readme_is_sound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let blocks = pipelines_of(&std::fs::read_to_string(path).unwrap());
    assert!(!blocks.is_empty(), "the README shows a pipeline");
    let check = |(line, text): &(usize, String)| check(&format!("README.md from line {line}"), text);
    let problems: Vec<_> = blocks.iter().flat_map(check).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn blocks_of_markdown_are_found_and_fragments_left_out() {
    let text =
        "a\n```yaml\nname: n\nsource: {}\nstages: []\n```\n```yaml\n- map: x\n```\n```sh\nsource: x\nstages:\n```\n";
    assert_eq!(pipelines_of(text), [(3, "name: n\nsource: {}\nstages: []\n".to_string())]);
}

/// Whatever a file says, it is a pipeline or has problems: mutated pipelines with a fixed seed.
#[test]
fn mutated_pipelines_get_an_answer() {
    const TOKENS: &[&str] =
        &["{", "}", "[", "- ", ": ", "\n  ", "'", "\"", "|", "&a", "*a", "!!", "${X}", "\t", "\u{0}", "9e9"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    yaml_files(&root.join("pipelines"), &mut files);
    let mut random = StdRng::seed_from_u64(7);
    let (mut sound, mut refused) = (0, 0);
    for text in files.iter().map(|path| std::fs::read_to_string(path).unwrap()) {
        for _ in 0..150 {
            let mut chars: Vec<char> = text.chars().collect();
            for _ in 0..random.gen_range(1..=3) {
                let at = random.gen_range(0..chars.len());
                match random.gen_range(0..3) {
                    0 => drop(chars.splice(at..at, TOKENS[random.gen_range(0..TOKENS.len())].chars())),
                    1 => drop(chars.drain(at..(at + random.gen_range(1..20)).min(chars.len()))),
                    _ => chars.swap(at, 0),
                }
            }
            let mutated: String = chars.into_iter().collect();
            match load_text("mutated.yaml", &mutated, &headwater::builtin(), &variables) {
                Ok(_) => sound += 1,
                Err(failure) => {
                    assert!(!failure.problems.is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(sound > 20 && refused > 100, "{sound} sound, {refused} refused");
}
