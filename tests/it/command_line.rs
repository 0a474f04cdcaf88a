//! The real binary: exit codes, what goes where, and that no secret is printed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const GOOD: &str =
    "name: good\nsource: { file: { path: recording.jsonl } }\nstages: [{ debezium: { schemas: required } }]\n";
const BAD: &str = "name: bad\nsource: { fiel: { path: recording.jsonl } }\nstages: [debezium]\nlanse: 2\n";

/// Runs `headwater` in `directory`, without this process's settings.
fn headwater(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.current_dir(directory).args(arguments).env_remove("NO_COLOR").env("CANARY", "canary-7f3a");
    for name in ["DATA_DIR", "LOG", "LOG_FILTER", "COLOR", "CONFIG", "LISTEN"] {
        command.env_remove(format!("HEADWATER_{name}"));
    }
    command.output().unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn check_shows_the_line_the_place_and_the_way_out() {
    let directory = folder(&[("bad.yaml", BAD)]);
    let output = headwater(directory.path(), &["check", "bad.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "  \
  x no source is called `fiel`; there are: file, kafka
   ,-[bad.yaml:2:11]
 2 | source: { fiel: { path: recording.jsonl } }
   :           ^^|^
   :             `-- /source/fiel
   `----
  help: → did you mean `file`?

  x unknown key `lanse`; known here: name, source, stages, lanes, batch, parking, shutdown, consistency
   ,-[bad.yaml:4:1]
 4 | lanse: 2
   : ^^|^^
   :   `-- /lanse
   `----
  help: → did you mean `lanes`?

";
    assert_eq!(stdout(&output), expected);
    assert_eq!(stderr(&output), "error: 2 problems in 1 of 1 file\n");
}

#[test]
fn check_takes_folders_and_says_how_each_file_did() {
    let directory = folder(&[("p/good.yaml", GOOD), ("p/deeper/bad.yml", BAD), ("p/notes.txt", "no pipeline")]);
    let output = headwater(directory.path(), &["check", "p", "--output", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let object = json(&output);
    assert_eq!((&object["command"], &object["ok"]), (&"check".into(), &false.into()));
    assert_eq!(object["summary"], "2 problems in 1 of 2 files");
    assert_eq!(object["error"]["class"], "config");
    let files = object["result"]["files"].as_array().unwrap();
    assert_eq!((&files[0]["file"], &files[0]["ok"]), (&"p/deeper/bad.yml".into(), &false.into()));
    assert_eq!((&files[1]["file"], &files[1]["ok"]), (&"p/good.yaml".into(), &true.into()));
    let problem = &files[0]["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["column"], &problem["path"]),
        (&2.into(), &11.into(), &"/source/fiel".into())
    );
    assert_eq!((&problem["code"], &problem["help"]), (&"component.unknown".into(), &"did you mean `file`?".into()));
}

#[test]
fn warnings_are_told_and_fail_only_when_asked_to() {
    let warned = "name: warned\nsource:\n  file: { path: x.jsonl }\nstages:\n  - debezium: { tables: { account: { key: [id] } } }\n";
    let directory = folder(&[("warned.yaml", warned)]);
    let output = headwater(directory.path(), &["check", "warned.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("warned.yaml:5:27") && stdout(&output).contains("stay base64"),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).ends_with("ok warned.yaml (warned)\n"), "{}", stdout(&output));
    let output = headwater(directory.path(), &["check", "warned.yaml", "--deny-warnings", "--output", "json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(json(&output)["summary"], "1 file checked, no problems, 1 warning");
    assert_eq!(json(&output)["result"]["files"][0]["warnings"][0]["code"], "table.untyped");
}

#[test]
fn exit_codes_say_what_happened() {
    let directory = folder(&[("good.yaml", GOOD), ("headwater.toml", "data_dri = 'x'\n"), ("empty/x.txt", "")]);
    let good = ["--config", "/dev/null"];
    let code = |arguments: &[&str]| headwater(directory.path(), &[arguments, &good].concat()).status.code();
    assert_eq!(code(&["check", "good.yaml"]), Some(0));
    assert_eq!(code(&["explain", "good.yaml"]), Some(0));
    assert_eq!(code(&["list"]), Some(0));
    assert_eq!(code(&["completions", "bash"]), Some(0));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["check", "missing.yaml"]), Some(2));
    assert_eq!(code(&["check", "empty"]), Some(2));
    assert_eq!(code(&["check"]), Some(2));
    assert_eq!(code(&["chekc"]), Some(2));
    let output = headwater(directory.path(), &["list"]);
    assert_eq!(output.status.code(), Some(2), "a settings file with an unknown key");
    assert!(stderr(&output).contains("data_dri"), "{}", stderr(&output));
}

#[test]
fn an_address_that_is_taken_is_found_before_anything_runs() {
    let directory = folder(&[("good.yaml", GOOD), ("recording.jsonl", "")]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(directory.path().join("headwater.toml"), format!("listen = '{address}'\n")).unwrap();
    for arguments in [&["run", "good.yaml"][..], &["run", "good.yaml", "--listen", &address]] {
        let output = headwater(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(&address), "{}", stderr(&output));
        assert!(!directory.path().join("headwater-data").exists(), "something ran");
    }
    let output = headwater(directory.path(), &["run", "good.yaml", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("/metrics"), "{}", stderr(&output));
}

#[test]
fn secrets_are_never_printed() {
    let text = "name: n\nsource: { file: { path: \"${CANARY}\", pathh: \"${CANARY}\" } }\nstages: [\"${CANARY}\", debezium: \"${CANARY}\"]\nshutdown: \"${CANARY}\"\nparking: { store: \"${CANARY}\" }\n";
    let directory = folder(&[("bad.yaml", text), ("good.yaml", &GOOD.replace("recording.jsonl", "\"${CANARY}\""))]);
    let log = directory.path().join("good.yaml");
    std::fs::write(&log, format!("{}parking: {{ store: \"${{CANARY}}\" }}\n", std::fs::read_to_string(&log).unwrap()))
        .unwrap();
    for verb in [["check", "bad.yaml"], ["explain", "bad.yaml"], ["check", "good.yaml"], ["explain", "good.yaml"]] {
        for form in ["text", "json"] {
            let output = headwater(directory.path(), &[verb[0], verb[1], "--output", form, "--log-filter", "trace"]);
            let printed = stdout(&output) + &stderr(&output);
            assert!(!printed.is_empty() && !printed.contains("canary-7f3a"), "{verb:?}: {printed}");
        }
    }
}

#[test]
fn only_the_line_of_the_problem_is_shown() {
    let text = BAD.replace("lanse: 2", "# password: hunter2\nlanse: 2\n# token: hunter3");
    let directory = folder(&[("bad.yaml", &text)]);
    let printed = stdout(&headwater(directory.path(), &["check", "bad.yaml"]));
    assert!(printed.contains("5 | lanse: 2") && !printed.contains("hunter"), "{printed}");
}

#[test]
fn colours_only_when_asked_for_or_on_a_terminal() {
    let directory = folder(&[("bad.yaml", BAD)]);
    let has_escape = |arguments: &[&str]| stdout(&headwater(directory.path(), arguments)).contains('\u{1b}');
    assert!(!has_escape(&["check", "bad.yaml"]));
    assert!(has_escape(&["check", "bad.yaml", "--color", "always"]));
    assert!(!has_escape(&["check", "bad.yaml", "--no-color"]));
    assert!(!has_escape(&["check", "bad.yaml", "--color", "always", "--output", "json"]));
}

const VERBS: &str = "
name: verbs
source: { file: { path: recording.jsonl } }
stages:
  - debezium: { tables: { t: { columns: { id: int64, amount: decimal, name: text, n: KIND } } } }
  - raw: { store: bank }
";

/// A folder with a pipeline, and its recording run to the end: two rows are stored; one message can never be read, and
/// one not while the column `n` is declared as `kind`.
fn after_a_run(kind: &str) -> tempfile::TempDir {
    let event = |offset: i64, after: &str| {
        let source = format!(r#"{{"connector":"postgresql","schema":"public","table":"t","lsn":{offset}}}"#);
        let payload = format!(r#"{{"op":"c","after":{after},"source":{source}}}"#);
        let key = format!(r#"{{"id":{offset}}}"#);
        serde_json::json!({ "topic": "b.public.t", "partition": 0, "offset": offset, "key": key, "payload": payload })
            .to_string()
    };
    let lines = [
        event(1, r#"{"id":1,"amount":123456789012345678901234567890.10,"name":"a=b","n":9223372036854775807}"#),
        event(2, r#"{"id":2,"amount":1.50,"name":"Zoë","n":null}"#),
        event(3, r#"{"id":3,"amount":1.50,"name":"x","n":"seven"}"#),
        event(4, "{nothing that anybody could read}"),
    ];
    let directory = folder(&[("p.yaml", &VERBS.replace("KIND", kind)), ("recording.jsonl", &lines.join("\n"))]);
    let output = headwater(directory.path(), &["run", "p.yaml", "--until-end", "--quiet", "--config", "/dev/null"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    directory
}

#[test]
fn raw_shows_what_is_stored_with_all_digits() {
    let directory = after_a_run("int64");
    let raw = |arguments: &[&str]| {
        let output = headwater(directory.path(), &[&["raw"], arguments, &["--config", "/dev/null"]].concat());
        (output.status.code(), stdout(&output))
    };
    let first = r#"{"id":1,"amount":123456789012345678901234567890.10,"name":"a=b","n":9223372036854775807}"#;
    let second = r#"{"id":2,"amount":1.50,"name":"Zoë","n":null}"#;
    let rows = |rows: &[&str]| (Some(0), rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    assert_eq!(raw(&["tables", "bank"]), (Some(0), "t  2\n".into()));
    assert_eq!(raw(&["dump", "bank", "t"]), rows(&[first, second]));
    assert_eq!(raw(&["dump", "bank", "t", "--limit", "1"]), rows(&[first]));
    assert_eq!(raw(&["dump", "bank", "t", "--where", "amount=1.5"]), rows(&[second]));
    assert_eq!(raw(&["dump", "bank", "t", "--where", "name=a=b"]), rows(&[first]));
    assert_eq!(raw(&["dump", "bank", "t", "--where", "n=null", "--where", "name=Zoë"]), rows(&[second]));
    assert_eq!(raw(&["dump", "bank", "t", "--where", "n=null", "--where", "id=1"]), rows(&[]));
    let (code, tables) = raw(&["tables", "bank", "--output", "json"]);
    let tables: Value = serde_json::from_str(&tables).unwrap();
    assert_eq!((code, &tables["result"]["tables"]), (Some(0), &serde_json::json!([{ "table": "t", "rows": 2 }])));
    for wrong in [
        ["dump", "bank", "tt", "--limit", "1"],
        ["dump", "bnak", "t", "--limit", "1"],
        ["dump", "bank", "t", "--where", "name"],
        ["dump", "bank", "t", "--limit", "x"],
    ] {
        assert_eq!(raw(&wrong), (Some(2), String::new()), "{wrong:?}");
    }
    assert_eq!(raw(&["tables", "bnak"]).0, Some(2));
    assert!(!directory.path().join("headwater-data/bnak.db").exists(), "looking makes no store");
}

#[test]
fn parked_messages_are_listed_shown_retried_and_dropped() {
    let directory = after_a_run("int64");
    let parked = |arguments: &[&str]| {
        let end = ["--config", "/dev/null", "--output", "json"];
        let output = headwater(directory.path(), &[&["parked"], arguments, &end].concat());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["result"].take())
    };
    let listed = |place: &[&str]| {
        let (code, result) = parked(&[&["list"], place].concat());
        assert_eq!(code, Some(0));
        let entries = result["parked"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|e| (e["offset"].as_i64().unwrap(), e["code"].as_str().unwrap().to_string()))
            .collect::<Vec<_>>()
    };
    let both = [(3, "column.type".to_string()), (4, "json.syntax".to_string())];
    assert_eq!(listed(&["p.yaml"]), both);
    assert_eq!(listed(&["--store", "bank"]), both);
    assert_eq!(listed(&["p.yaml", "--limit", "1"]), both[..1]);

    let ids: Vec<String> = parked(&["list", "p.yaml"]).1["parked"].as_array().unwrap().iter().map(id).collect();
    let (code, shown) = parked(&["show", "p.yaml", "--id", &ids[0]]);
    assert_eq!((code, &shown["id"], &shown["table"]), (Some(0), &ids[0].clone().into(), &"t".into()));
    let original = std::fs::read_to_string(directory.path().join("recording.jsonl")).unwrap();
    let original: Value = serde_json::from_str(original.lines().nth(2).unwrap()).unwrap();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, shown["value_base64"].as_str().unwrap());
    assert_eq!(String::from_utf8(bytes.unwrap()).unwrap(), original["payload"]);

    let counts =
        |applied: u64, rejected: u64| (Some(0), serde_json::json!({ "applied": applied, "rejected": rejected }));
    assert_eq!(parked(&["retry", "p.yaml"]), counts(0, 2), "nothing has been mended");
    std::fs::write(directory.path().join("p.yaml"), VERBS.replace("KIND", "any")).unwrap();
    assert_eq!(parked(&["retry", "p.yaml", "--id", &ids[1]]), counts(0, 1));
    assert_eq!(parked(&["retry", "p.yaml"]), counts(1, 1));
    assert_eq!(listed(&["p.yaml"]), both[1..]);
    let output = headwater(directory.path(), &["raw", "dump", "bank", "t", "--where", "id=3"]);
    assert_eq!(stdout(&output), "{\"id\":3,\"amount\":1.50,\"name\":\"x\",\"n\":\"seven\"}\n");

    let dropped = |count: u64| (Some(0), serde_json::json!({ "dropped": count }));
    assert_eq!(parked(&["drop", "p.yaml", "--id", &ids[0]]), dropped(0));
    assert_eq!(parked(&["drop", "p.yaml", "--all"]), dropped(1));
    assert_eq!(listed(&["p.yaml"]), []);
    for wrong in [
        &["show", "p.yaml", "--id", &ids[1]][..],
        &["list"],
        &["list", "missing.yaml"],
        &["list", "--store", "missing"],
        &["drop", "p.yaml"],
        &["drop", "p.yaml", "--all", "--id", "x"],
        &["retry"],
    ] {
        assert_eq!(parked(wrong).0, Some(2), "{wrong:?}");
    }
}

fn id(entry: &Value) -> String {
    entry["id"].as_str().unwrap().to_string()
}
