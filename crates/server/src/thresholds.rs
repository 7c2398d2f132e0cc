//! Files laid over the detectors' configuration: the reference system's thresholds, reference tables.
//!
//! Invariant: the three values of a thresholds file replace the parameters of the same meaning; a file
//! of tables replaces all tables; nothing else changes.

use std::path::Path;

use tapewatch_connect::read_thresholds;
use tapewatch_detect::DetectConfig;

use crate::failure::Failure;

/// `config` with the thresholds of `file`.
pub(crate) fn with_file(mut config: DetectConfig, file: &Path) -> Result<DetectConfig, Failure> {
    let thresholds = read_thresholds(file).map_err(Failure::usage)?;
    for assignment in [
        format!("spoofing.cancel_quantity={}", thresholds.cancel_quantity),
        format!("spoofing.cancel_count={}", thresholds.cancel_count),
        format!("spoofing.lookback={}", thresholds.lookback),
    ] {
        config
            .set(&assignment)
            .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
    }
    Ok(config)
}

/// Largest file of reference tables: what becomes of it must fit a frame of the journal.
const TABLES_BYTES_MAX: u64 = 32 << 20;

/// `config` with the reference tables of `file`, JSON or TOML by its name.
pub(crate) fn with_tables(mut config: DetectConfig, file: &Path) -> Result<DetectConfig, Failure> {
    let wrong =
        |reason: &dyn std::fmt::Display| Failure::usage(format!("{}: {reason}", file.display()));
    let size = std::fs::metadata(file)
        .map_err(|error| wrong(&error))?
        .len();
    if size > TABLES_BYTES_MAX {
        return Err(wrong(&format!(
            "has {size} bytes, at most {TABLES_BYTES_MAX} are read"
        )));
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let json = match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|error| wrong(&error))?,
        _ => serde_json::from_str(&text).map_err(|error| wrong(&error))?,
    };
    config.refer(&json).map_err(|error| wrong(&error))?;
    Ok(config)
}
