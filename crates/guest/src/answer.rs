//! What a component says, checked: its description and its findings.
//!
//! Invariant: nothing that passes can hurt a table, a page or another detector: names are names,
//! texts and lists are within their limits, evidence is of the past.

use tapewatch_detect::{DetectorInfo, GuestFinding, ParamInfo};
use tapewatch_model::{Decimal, EventType, EventTypes, Measure, TimeSpan};

use crate::params::{RESERVED, read};
use crate::wit;

/// Most parameters, and most measures.
const LIST_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
/// Most bytes of a title, a documentation, a default.
const LINE_BYTES_MAX: usize = 1_000;
/// Most bytes of a rule.
const RULE_BYTES_MAX: usize = 16_000;
/// Most findings at one event.
const FINDINGS_MAX: usize = 64;
/// Most bytes of a finding's sentence.
const TEXT_BYTES_MAX: usize = 2_000;
/// Most sequence numbers that a finding may name: as many are kept.
const EVIDENCE_MAX: usize = tapewatch_model::EVIDENCE_MAX;

/// What a component is.
pub(crate) struct Described {
    pub(crate) info: &'static DetectorInfo,
    pub(crate) parameters: Vec<wit::Parameter>,
    pub(crate) measures: Vec<&'static str>,
    pub(crate) wants: EventTypes,
}

/// Checks a description. Its texts live as long as the process does: it is asked for once a file.
pub(crate) fn described(given: wit::Description, digest: &str) -> Result<Described, String> {
    let wit::Description {
        id,
        version,
        title,
        rule,
        parameters,
        measures,
        wants,
    } = given;
    name("id", &id)?;
    short("title", &title, LINE_BYTES_MAX)?;
    short("rule", &rule, RULE_BYTES_MAX)?;
    if parameters.len() > LIST_MAX || measures.len() > LIST_MAX {
        return Err(format!(
            "it has more than {LIST_MAX} parameters or measures"
        ));
    }
    for (at, parameter) in parameters.iter().enumerate() {
        name("parameter", &parameter.name)?;
        short(
            "documentation of a parameter",
            &parameter.doc,
            LINE_BYTES_MAX,
        )?;
        let twice = || {
            parameters
                .iter()
                .take(at)
                .any(|other| other.name == parameter.name)
        };
        if RESERVED.contains(&parameter.name.as_str()) || twice() {
            return Err(format!("its parameter {} is there already", parameter.name));
        }
        read(parameter.kind, &parameter.default)
            .map_err(|reason| format!("its default of {}: {reason}", parameter.name))?;
    }
    for measure in &measures {
        name("measure", measure)?;
    }
    let params = parameters.iter().map(|parameter| ParamInfo {
        name: leaked(parameter.name.clone()),
        default: leaked(parameter.default.clone()),
        doc: leaked(parameter.doc.clone()),
    });
    let info = DetectorInfo {
        id: leaked(id),
        version,
        title: leaked(title),
        rule: leaked(rule),
        source: leaked(format!("the WebAssembly component {digest}")),
        params: Vec::leak(params.collect()),
        needs: &[],
        by_default: false,
    };
    Ok(Described {
        info: Box::leak(Box::new(info)),
        parameters,
        measures: measures.into_iter().map(leaked).collect(),
        wants: wanted(wants),
    })
}

fn wanted(wants: wit::EventTypes) -> EventTypes {
    [
        (wit::EventTypes::NEW, EventType::New),
        (wit::EventTypes::AMENDED, EventType::Amended),
        (wit::EventTypes::CANCELLED, EventType::Cancelled),
        (wit::EventTypes::FILLED, EventType::Filled),
    ]
    .into_iter()
    .filter(|(flag, _)| wants.contains(*flag))
    .fold(EventTypes::NONE, |all, (_, event)| {
        all.union(EventTypes::of(&[event]))
    })
}

/// Checks what it found at the event `seq`.
pub(crate) fn findings(
    given: Vec<wit::Finding>,
    seq: u64,
    measures: &[&'static str],
    found: &mut Vec<GuestFinding>,
) -> Result<(), String> {
    if given.len() > FINDINGS_MAX {
        let count = given.len();
        return Err(format!(
            "it found {count} things at one event; {FINDINGS_MAX} are the most"
        ));
    }
    // All or nothing: an event at which it errs gives no hit.
    let checked: Result<Vec<_>, _> = given
        .into_iter()
        .map(|one| finding(one, seq, measures))
        .collect();
    found.extend(checked?);
    Ok(())
}

fn finding(given: wit::Finding, seq: u64, names: &[&'static str]) -> Result<GuestFinding, String> {
    short("sentence", &given.text, TEXT_BYTES_MAX)?;
    if given.lookback <= 0 {
        return Err(format!(
            "it looked back {} ns; must be above 0",
            given.lookback
        ));
    }
    if given.measures.len() != names.len() {
        let (is, should) = (given.measures.len(), names.len());
        return Err(format!(
            "it gave {is} measures, its description names {should}"
        ));
    }
    if given.evidence.len() > EVIDENCE_MAX {
        let count = given.evidence.len();
        return Err(format!(
            "it named {count} events as evidence; {EVIDENCE_MAX} are the most"
        ));
    }
    if let Some(other) = given
        .evidence
        .iter()
        .find(|other| **other == 0 || **other > seq)
    {
        return Err(format!("it named event {other} as evidence at event {seq}"));
    }
    let measures = names
        .iter()
        .zip(given.measures)
        .map(|(&name, measure)| Measure {
            name,
            value: Decimal::from_units(measure.value.into()),
            threshold: Decimal::from_units(measure.threshold.into()),
        });
    Ok(GuestFinding {
        entity: given.entity,
        lookback: TimeSpan::from_nanos(given.lookback),
        measures: measures.collect(),
        evidence: given.evidence,
        text: given.text,
    })
}

fn name(of: &str, text: &str) -> Result<(), String> {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let goes_on =
        bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if begins && goes_on && text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let start: String = text.chars().take(NAME_BYTES_MAX).collect();
    Err(format!(
        "its {of} {start:?} is no name: lower case, digits and _, at most {NAME_BYTES_MAX}"
    ))
}

fn short(of: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!(
            "its {of} has {} bytes; {most} are the most",
            text.len()
        ));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(format!("its {of} holds a control character"));
    }
    Ok(())
}

fn leaked(text: String) -> &'static str {
    String::leak(text)
}
