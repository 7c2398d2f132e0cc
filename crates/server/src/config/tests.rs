//! Keys, layers and secrets of the configuration.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn names(prefix: &str, value: &Value, into: &mut Vec<String>) {
    for (key, value) in value.as_object().unwrap() {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Object(_) if key == "detectors" => {}
            Value::Object(_) => names(&name, value, into),
            _ => into.push(name),
        }
    }
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let mut found = Vec::new();
    names(
        "",
        &serde_json::to_value(Config::default()).unwrap(),
        &mut found,
    );
    found.sort();
    let mut documented: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    documented.sort();
    assert_eq!(found, documented);
}

#[test]
fn flags_go_over_the_file_and_wrong_keys_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let text = "listen = \"127.0.0.1:1\"\n[journal]\nfsync = \"always\"\n\
                [detectors.spoofing]\ncancel_count = 7\n";
    std::fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), vec![("listen", "127.0.0.1:2".into())]).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.fsync().unwrap(), FsyncPolicy::Always);
    assert_eq!(
        config.detect().unwrap().params("spoofing").unwrap()["cancel_count"],
        7
    );
    assert!(config.show().unwrap().contains("cancel_count = 7"));
    for (text, expected) in [
        ("listen = 1", "listen"),
        ("[journal]\nfsync = \"maybe\"", "interval:10ms"),
        ("[session]\nrolls_at = \"25:00\"", "rolls_at"),
        ("[detectors.spoofing]\nlookback = 25", "lookback"),
        ("[recent]\nrows_max = \"many\"", "rows_max"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Config::load(Some(&file), Vec::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(Config::load(Some(&dir.path().join("none")), Vec::new()).is_err());
}

#[test]
fn secrets_are_hidden() {
    let mut json = serde_json::json!({
        "kafka": { "sasl_password": "hunter2", "url": "kafka://me:hunter2@host:9092" },
        "list": ["postgres://u:hunter2@h/db"],
    });
    hide_secrets(&mut json);
    assert!(!json.to_string().contains("hunter2"), "{json}");
    assert!(json.to_string().contains("host:9092"));
}
