//! Every shipped pipeline and every pipeline of the README is checked with the components of the binary.

use std::path::{Path, PathBuf};

use headwater::pipeline::load_text;

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
