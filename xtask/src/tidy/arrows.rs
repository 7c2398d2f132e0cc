//! Which crate may depend on which: arrows point down only.

use serde_json::Value;

use super::Finding;

/// Every crate under crates/ and what it may use of the others.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "connect", "detect", "exchange", "guest", "store", "journal", "model",
        ],
    ),
    ("connect", &["model"]),
    ("detect", &["model"]),
    ("exchange", &["model"]),
    ("guest", &["detect", "model"]),
    ("store", &["model"]),
    ("journal", &[]),
    ("model", &[]),
];
/// Libraries and the one crate that names them; a dash continues the name.
const WALLS: &[(&str, &str)] = &[
    ("arrow", "store"),
    ("datafusion", "store"),
    ("deltalake", "store"),
    ("parquet", "store"),
    ("tonic", "store"),
    ("wasmtime", "guest"),
];
const PREFIX: &str = "tapewatch-";

/// Checks what `cargo metadata` says of the workspace; dev-dependencies are free.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata.get("packages").and_then(Value::as_array);
    packages
        .into_iter()
        .flatten()
        .flat_map(check_package)
        .collect()
}

fn check_package(package: &Value) -> Vec<Finding> {
    let Some(name) = text(package, "name").strip_prefix(PREFIX) else {
        return Vec::new();
    };
    let path = format!("crates/{name}/Cargo.toml");
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        let what = "a crate that has no arrows; say in xtask/src/tidy/arrows.rs what it may use, and in ARCHITECTURE.md why it exists";
        return vec![Finding::new(&path, 1, what)];
    };
    let dependencies = package.get("dependencies").and_then(Value::as_array);
    let used = dependencies
        .into_iter()
        .flatten()
        .filter(|dependency| text(dependency, "kind") != "dev");
    used.filter_map(|dependency| refusal(name, allowed, text(dependency, "name")))
        .map(|what| Finding::new(&path, 1, what))
        .collect()
}

fn refusal(from: &str, allowed: &[&str], to: &str) -> Option<String> {
    if let Some(to) = to.strip_prefix(PREFIX) {
        return (!allowed.contains(&to)).then(|| {
            format!("{from} → {to} is no allowed arrow; pass what it needs through server (ARCHITECTURE.md)")
        });
    }
    let wall = WALLS.iter().find(|(library, _)| {
        to.strip_prefix(library)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    let (_, owner) = wall.filter(|(_, owner)| *owner != from)?;
    Some(format!(
        "{from} names {to}; only {owner} may, so put what needs it there"
    ))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind }))
            .collect();
        let package = serde_json::json!({ "name": package, "dependencies": dependencies });
        let metadata = serde_json::json!({ "packages": [package] });
        check(&metadata).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn arrows_that_point_down_pass() {
        let used = [
            ("tapewatch-detect", None),
            ("tapewatch-model", None),
            ("axum", None),
        ];
        assert_eq!(findings("tapewatch-server", &used), Vec::<String>::new());
        let used = [
            ("tapewatch-model", None),
            ("arrow", None),
            ("arrow-flight", None),
        ];
        assert_eq!(findings("tapewatch-store", &used), Vec::<String>::new());
        assert_eq!(findings("xtask", &[("arrow", None)]), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_up_or_aside_are_refused() {
        assert_eq!(
            findings("tapewatch-detect", &[("tapewatch-store", None)]),
            [
                "crates/detect/Cargo.toml:1: detect → store is no allowed arrow; pass what it needs through server (ARCHITECTURE.md)"
            ]
        );
        assert_eq!(
            findings("tapewatch-journal", &[("tapewatch-model", None)]).len(),
            1
        );
        assert_eq!(
            findings("tapewatch-connect", &[("tapewatch-server", Some("build"))]).len(),
            1
        );
        assert_eq!(findings("tapewatch-new", &[]).len(), 1);
    }

    #[test]
    fn a_walled_library_has_one_owner() {
        assert_eq!(
            findings(
                "tapewatch-server",
                &[("arrow-array", None), ("arrowhead", None)]
            ),
            [
                "crates/server/Cargo.toml:1: server names arrow-array; only store may, so put what needs it there"
            ]
        );
        assert_eq!(findings("tapewatch-guest", &[("wasmtime", None)]).len(), 0);
        assert_eq!(findings("tapewatch-detect", &[("wasmtime", None)]).len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        assert_eq!(
            findings("tapewatch-detect", &[("tapewatch-connect", Some("dev"))]),
            Vec::<String>::new()
        );
    }
}
