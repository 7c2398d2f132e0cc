//! Parameters of detectors: declared once with default and documentation, read with errors that name
//! them, and given by class of instrument and client group where profiles say so.
//!
//! Invariant: parameters that were read are valid. Ratios are decimals with nine digits.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tapewatch_model::{Decimal, Price, Quantity, TimeSpan};

use crate::config::ConfigError;
use crate::detector::{ParamInfo, ParamMap};
use crate::reference::Reference;
use crate::step::Step;

/// A share that is everything.
const ALL: Decimal = Decimal::from_units(1_000_000_000);
/// Most profiles of a detector.
const PROFILES_MAX: usize = 256;

/// The parameters of a detector, as [`params!`] declares them.
pub(crate) trait ParamSet:
    Clone + PartialEq + Send + Default + Serialize + DeserializeOwned
{
    /// Their documentation.
    const PARAMS: &'static [ParamInfo];

    /// Whether every one of them can be.
    ///
    /// # Errors
    /// The parameter and what it must be.
    fn check_each(&self) -> Result<(), String>;
}

/// The type of a parameter.
pub(crate) trait ParamValue: Sized {
    /// Reads a default.
    fn from_text(text: &str) -> Option<Self>;

    /// What it must be, when it is not that.
    fn complaint(&self) -> Option<&'static str> {
        None
    }
}

impl ParamValue for u64 {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ParamValue for bool {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ParamValue for Quantity {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ParamValue for Price {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ParamValue for TimeSpan {
    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn complaint(&self) -> Option<&'static str> {
        (*self <= Self::ZERO).then_some("longer than nothing")
    }
}

impl ParamValue for Decimal {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn complaint(&self) -> Option<&'static str> {
        // Above that a product with a sum of quantities could overflow.
        let fits = (0..=1_000_000_000_000_000_i128).contains(&self.units());
        (!fits).then_some("from 0 to 1000000")
    }
}

/// Declares parameters: `name: Type = "default"`, each with its documentation and its unit.
macro_rules! params {
    (struct $Params:ident { $( $(#[doc = $doc:literal])+ $field:ident: $Type:ty = $default:literal, )+ }) => {
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $Params {
            $( $(#[doc = $doc])+ $field: $Type, )+
        }

        impl Default for $Params {
            fn default() -> Self {
                Self {
                    // A default that cannot be read fails the tests of the configuration.
                    $( $field: <$Type as crate::params::ParamValue>::from_text($default).unwrap_or_default(), )+
                }
            }
        }

        impl crate::params::ParamSet for $Params {
            const PARAMS: &'static [crate::detector::ParamInfo] = &[
                $( crate::detector::ParamInfo {
                    name: stringify!($field),
                    default: $default,
                    doc: concat!($($doc),+),
                }, )+
            ];

            fn check_each(&self) -> Result<(), String> {
                $( if let Some(complaint) = crate::params::ParamValue::complaint(&self.$field) {
                    return Err(format!(concat!(stringify!($field), " must be {}"), complaint));
                } )+
                Ok(())
            }
        }
    };
}
pub(crate) use params;

/// Parameters, and others for some classes of instruments and groups of clients.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profiles<P> {
    usual: P,
    /// Class and group, 0 for any; the first that fits counts.
    others: Vec<(u16, u16, P)>,
}

impl<P: ParamSet> Profiles<P> {
    /// The parameters for the instrument and the owner of a step.
    #[inline]
    pub(crate) fn of(&self, step: &Step<'_>) -> &P {
        if self.others.is_empty() {
            return &self.usual;
        }
        self.find(step.class, step.group)
    }

    /// The parameters for the instrument of a step and another owner than the step's.
    #[inline]
    pub(crate) fn of_owner(&self, step: &Step<'_>, owner: u32) -> &P {
        self.at(|| step.names().class_and_group(step.sym, owner))
    }

    /// The parameters for a class and a group, which are asked for only where there are profiles.
    #[inline]
    pub(crate) fn at(&self, class_and_group: impl FnOnce() -> (u16, u16)) -> &P {
        if self.others.is_empty() {
            return &self.usual;
        }
        let (class, group) = class_and_group();
        self.find(class, group)
    }

    /// The parameters where no profile fits.
    pub(crate) fn usual(&self) -> &P {
        &self.usual
    }

    /// Those of the profiles.
    pub(crate) fn others(&self) -> impl Iterator<Item = &P> {
        self.others.iter().map(|(_, _, params)| params)
    }

    /// The parameters for the instrument of a step, whoever it is: where two owners are concerned.
    #[inline]
    pub(crate) fn of_class(&self, step: &Step<'_>) -> &P {
        self.find(step.class, 0)
    }

    fn find(&self, class: u16, group: u16) -> &P {
        let mut others = self.others.iter();
        let fits = |other: &&(u16, u16, P)| {
            (other.0 == 0 || other.0 == class) && (other.1 == 0 || other.1 == group)
        };
        others
            .find(fits)
            .map_or(&self.usual, |(_, _, params)| params)
    }

    /// Reads complete parameters. A class or a group that the tables do not have fits nobody.
    pub(crate) fn read(
        detector: &'static str,
        params: &ParamMap,
        reference: &Reference,
    ) -> Result<Self, ConfigError> {
        let (usual, profiles) = split(detector, params)?;
        let mut others = Vec::new();
        for (class, group, overrides) in profiles {
            let mut all = usual.clone();
            all.extend(overrides);
            let named = |name: &Option<String>, find: &dyn Fn(&str) -> Option<u16>| match name {
                None => Some(0),
                Some(name) => find(name),
            };
            let class = named(&class, &|name| reference.class_named(name));
            let group = named(&group, &|name| reference.group_named(name));
            if let (Some(class), Some(group)) = (class, group) {
                others.push((class, group, read(detector, &all)?));
            }
        }
        Ok(Self {
            usual: read(detector, &usual)?,
            others,
        })
    }
}

type Override = (Option<String>, Option<String>, ParamMap);

/// The usual parameters, and the profiles as they were written.
fn split(
    detector: &'static str,
    params: &ParamMap,
) -> Result<(ParamMap, Vec<Override>), ConfigError> {
    let refuse = |reason: &str| ConfigError::Param {
        detector,
        reason: reason.to_owned(),
    };
    let mut usual = params.clone();
    let profiles = match usual.remove("profiles") {
        None => Vec::new(),
        Some(Value::Array(profiles)) if profiles.len() <= PROFILES_MAX => profiles,
        Some(_) => return Err(refuse("profiles must be a list of at most 256 tables")),
    };
    let mut others = Vec::new();
    for profile in profiles {
        let Value::Object(mut overrides) = profile else {
            return Err(refuse("a profile must be a table"));
        };
        let mut name = |key: &str| match overrides.remove(key) {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(_) => Err(refuse(&format!("the {key} of a profile must be a text"))),
        };
        let (class, group) = (name("class")?, name("group")?);
        if class.is_none() && group.is_none() {
            return Err(refuse("a profile must name a class or a group"));
        }
        others.push((class, group, overrides));
    }
    Ok((usual, others))
}

/// Checks parameters and returns them whole, defaults filled in; profiles as they were written.
pub(crate) fn complete<P: ParamSet>(
    detector: &'static str,
    params: &ParamMap,
) -> Result<ParamMap, ConfigError> {
    let (usual, profiles) = split(detector, params)?;
    for (_, _, overrides) in &profiles {
        let mut all = usual.clone();
        all.extend(overrides.clone());
        read::<P>(detector, &all)?;
    }
    let whole = serde_json::to_value(read::<P>(detector, &usual)?);
    let Ok(Value::Object(mut whole)) = whole else {
        let form = "the parameters have no JSON form".to_owned();
        return Err(ConfigError::Form(form));
    };
    if let Some(profiles) = params.get("profiles") {
        whole.insert("profiles".to_owned(), profiles.clone());
    }
    Ok(whole)
}

/// Checks that what is a share of something is at most all of it, in profiles too.
///
/// # Errors
/// The parameter, its value and its range.
pub(crate) fn check_shares(detector: &'static str, params: &ParamMap) -> Result<(), ConfigError> {
    let (usual, profiles) = split(detector, params)?;
    let profiles = profiles.iter().map(|(_, _, overrides)| overrides);
    for (name, value) in std::iter::once(&usual).chain(profiles).flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let share = Decimal::from_text(&text);
        let is_share = name == "share" || name.ends_with("_share");
        if is_share && share.is_some_and(|share| share > ALL) {
            let reason = format!("{name} is {text}: a share is from 0 to 1, as 0.25");
            return Err(ConfigError::Param { detector, reason });
        }
    }
    Ok(())
}

/// What the profiles of a detector name that the tables do not have: they fit nobody.
pub(crate) fn unknown_names(
    detector: &'static str,
    params: &ParamMap,
    reference: &Reference,
) -> Vec<String> {
    // They were read before.
    let (_, profiles) = split(detector, params).unwrap_or_default();
    let mut unknown = Vec::new();
    for (class, group, _) in profiles {
        let class = class.filter(|name| reference.class_named(name).is_none());
        let group = group.filter(|name| reference.group_named(name).is_none());
        let named = [("class", class), ("group", group)].into_iter();
        unknown.extend(named.filter_map(|(what, name)| {
            let name = name?;
            Some(format!(
                "a profile of {detector} is for the {what} {name:?}, which no reference table names: it fits nobody"
            ))
        }));
    }
    unknown
}

fn read<P: ParamSet>(detector: &'static str, params: &ParamMap) -> Result<P, ConfigError> {
    let refuse = |reason: String| ConfigError::Param { detector, reason };
    for (name, value) in params {
        // One at a time, so that the error can name it.
        let one = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<P>(Value::Object(one)).map_err(|error| {
            refuse(match error.to_string() {
                text if text.contains("unknown field") => text,
                text => format!("{name} = {value}: {text}"),
            })
        })?;
    }
    let read: P = serde_json::from_value(Value::Object(params.clone()))
        .map_err(|error| refuse(error.to_string()))?;
    read.check_each().map_err(refuse)?;
    Ok(read)
}

/// `part` of `whole` as a decimal, cut to nine digits; 0 of nothing.
pub(crate) fn ratio(part: i128, whole: i128) -> Decimal {
    let scaled = part.saturating_mul(1_000_000_000);
    Decimal::from_units(scaled.checked_div(whole).unwrap_or(0))
}

/// What a quantity costs at a price, both in units, in units of a [`Decimal`]; the rest is cut.
#[inline]
pub(crate) fn money(price: i64, quantity: i64) -> i128 {
    i128::from(price) * i128::from(quantity) / 100_000_000
}

/// The product, or as much of it as fits. Almost all factors fit half the width, and then nothing need
/// be checked, which costs most.
#[inline]
fn product(one: i128, other: i128) -> i128 {
    match (i64::try_from(one), i64::try_from(other)) {
        (Ok(one), Ok(other)) => i128::from(one) * i128::from(other),
        _ => one.saturating_mul(other),
    }
}

/// Whether `part` is at most so much of `whole`.
#[inline]
pub(crate) fn at_most(part: i128, share: Decimal, whole: i128) -> bool {
    product(part, 1_000_000_000) <= product(whole, share.units())
}

/// Whether `part` is at least so much of `whole`.
#[inline]
pub(crate) fn at_least(part: i128, share: Decimal, whole: i128) -> bool {
    product(part, 1_000_000_000) >= product(whole, share.units())
}
