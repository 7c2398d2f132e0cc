//! A guest's table in the configuration: its limits and its parameters, in units.
//!
//! Invariant: a table that was completed holds every limit and every parameter, each written in one
//! way; it is read without a loss.

use serde_json::{Map, Value};
use tapewatch_model::{Decimal, Price, Quantity, TimeSpan};

use crate::wit::{Parameter, ParameterKind};

/// The key of the code.
pub(crate) const WASM: &str = "wasm";
const MEMORY: &str = "memory_bytes";
const FUEL: &str = "fuel_per_event";
const BURST: &str = "fuel_burst";
/// Keys of a guest's table that are not its parameters.
pub(crate) const RESERVED: [&str; 6] = [WASM, MEMORY, FUEL, BURST, "enabled", "profiles"];

/// Within what a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of its linear memory.
    pub(crate) memory: u64,
    /// Units of fuel (about one an instruction) that each event brings,
    pub(crate) fuel: u64,
    /// and how many it can have saved up: the most that one event may cost.
    pub(crate) burst: u64,
}

impl Limits {
    const DEFAULT: Self = Self {
        memory: 64 << 20,
        fuel: 20_000,
        burst: 20_000_000,
    };

    /// Reads them from a table.
    pub(crate) fn read(table: &Map<String, Value>) -> Result<Self, String> {
        let limit = |name, default, most: u64| match table.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|value| (1..=most).contains(value))
                .ok_or_else(|| {
                    format!("{name} = {value}: must be a whole number from 1 to {most}")
                }),
        };
        let limits = Self {
            memory: limit(MEMORY, Self::DEFAULT.memory, 1 << 32)?,
            fuel: limit(FUEL, Self::DEFAULT.fuel, 1_000_000_000)?,
            burst: limit(BURST, Self::DEFAULT.burst, 1_000_000_000_000)?,
        };
        if limits.burst < limits.fuel {
            return Err(format!("{BURST} must not be less than {FUEL}"));
        }
        Ok(limits)
    }
}

/// A table with every limit and every parameter, each written in one way.
pub(crate) fn complete(
    parameters: &[Parameter],
    table: &Map<String, Value>,
    digest: &str,
) -> Result<Map<String, Value>, String> {
    let limits = Limits::read(table)?;
    let values = values(parameters, table)?;
    let mut whole = Map::new();
    whole.insert(WASM.to_owned(), digest.into());
    whole.insert(MEMORY.to_owned(), limits.memory.into());
    whole.insert(FUEL.to_owned(), limits.fuel.into());
    whole.insert(BURST.to_owned(), limits.burst.into());
    for (parameter, value) in parameters.iter().zip(values) {
        whole.insert(parameter.name.clone(), written(parameter.kind, value));
    }
    Ok(whole)
}

/// The parameters' values in the order in which they are declared, in the units of their kinds.
pub(crate) fn values(
    parameters: &[Parameter],
    table: &Map<String, Value>,
) -> Result<Vec<i64>, String> {
    let known = |name: &str| {
        RESERVED.contains(&name) || parameters.iter().any(|parameter| parameter.name == name)
    };
    if let Some(unknown) = table.keys().find(|name| !known(name)) {
        let names: Vec<&str> = parameters.iter().map(|one| one.name.as_str()).collect();
        return Err(format!(
            "unknown parameter {unknown:?}: there are {}",
            names.join(", ")
        ));
    }
    let value = |parameter: &Parameter| {
        let given = table.get(&parameter.name);
        let text = match given {
            None => parameter.default.clone(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        read(parameter.kind, &text)
            .map_err(|reason| format!("{} = {text:?}: {reason}", parameter.name))
    };
    parameters.iter().map(value).collect()
}

/// The text of a parameter in units.
pub(crate) fn read(kind: ParameterKind, text: &str) -> Result<i64, String> {
    let whole = |error: std::num::ParseIntError| error.to_string();
    let number = match kind {
        ParameterKind::Count => text.parse().map_err(whole)?,
        ParameterKind::Switch => i64::from(text.parse::<bool>().map_err(|e| e.to_string())?),
        ParameterKind::TimeSpan => {
            match TimeSpan::parse(text).map_err(|e| e.to_string())?.nanos() {
                nanos @ 1.. => nanos,
                _ => return Err("must be longer than nothing".to_owned()),
            }
        }
        ParameterKind::Price => text.parse::<Price>().map_err(|e| e.to_string())?.units(),
        ParameterKind::Quantity => text.parse::<Quantity>().map_err(|e| e.to_string())?.units(),
        ParameterKind::Ratio => {
            let ratio: Decimal = text.parse().map_err(|error| format!("{error}"))?;
            let fits = (0..=1_000_000_000_000_000).contains(&ratio.units());
            let units = i64::try_from(ratio.units()).ok().filter(|_| fits);
            units.ok_or("must be from 0 to 1000000")?
        }
    };
    match kind {
        ParameterKind::Price => Ok(number),
        _ if number < 0 => Err("must not be negative".to_owned()),
        _ => Ok(number),
    }
}

/// The one way to write a value.
fn written(kind: ParameterKind, value: i64) -> Value {
    match kind {
        ParameterKind::Count => value.into(),
        ParameterKind::Switch => (value != 0).into(),
        ParameterKind::TimeSpan => TimeSpan::from_nanos(value).to_string().into(),
        ParameterKind::Price => Price::from_units(value).to_string().into(),
        ParameterKind::Quantity => Quantity::from_units(value)
            .unwrap_or_default()
            .to_string()
            .into(),
        ParameterKind::Ratio => Decimal::from_units(value.into()).to_string().into(),
    }
}
