//! Users' rules at the edges: wrong files, the configuration that holds them, windows that are kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{batch, orders, rows};
use tapewatch_detect::{DetectConfig, Engine, RuleError, Rules, Shard};
use tapewatch_model::{Hit, Order};

const WINDOW: &str = include_str!("../../../examples/rules/cancelled_quantity.toml");
const SEQUENCE: &str = include_str!("../../../examples/rules/bait_then_switch.toml");

fn parse(text: &str) -> Result<Rules, Vec<RuleError>> {
    Rules::parse(&[("a.toml".to_owned(), text.to_owned())])
}

fn both() -> Rules {
    let files = [("w", WINDOW), ("s", SEQUENCE)];
    Rules::parse(&files.map(|(name, text)| (name.to_owned(), text.to_owned()))).unwrap()
}

/// What is wrong with the text when one part of it is another.
fn error(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    let errors = parse(&text.replacen(from, to, 1)).unwrap_err();
    assert_eq!(errors.len(), 1);
    errors[0].to_string()
}

#[test]
fn what_is_wrong_is_told_with_line_and_column() {
    for (text, from, to, expected) in [
        (
            WINDOW,
            "version = 1",
            "version = 0",
            "a.toml:3:11: version must be",
        ),
        (WINDOW, "version = 1", "version 1", "a.toml:3:9: not TOML"),
        (
            WINDOW,
            "[window]",
            "[windows]",
            "unknown key \"windows\" of the rule",
        ),
        (WINDOW, "\"25s\"", "\"25\"", "a.toml:14:13: lookback: "),
        (WINDOW, "\"25s\"", "\"32d\"", "longer than 31 days"),
        (
            WINDOW,
            "sum(quantity)",
            "sum(quantty)",
            "a.toml:19:24: unknown name \"quantty\"",
        ),
        (
            WINDOW,
            "sum(quantity)",
            "sum(side)",
            "a number is expected here, not a side",
        ),
        (
            WINDOW,
            "sum(quantity)",
            "total(quantity)",
            "unknown function \"total\"",
        ),
        (WINDOW, "> quantity_limit", "> ", "unexpected `and`"),
        (
            WINDOW,
            "> quantity_limit",
            "> trader",
            "a number is expected here, not a trader",
        ),
        (WINDOW, "\"sym\", ", "", "group must name sym"),
        (
            WINDOW,
            "[\"cancelled\"]",
            "[\"canceled\", \"lost\"]",
            "\"lost\" is no event type",
        ),
        (
            WINDOW,
            "cancels = 3",
            "cancels = nan",
            "unknown name \"nan\"",
        ),
        (
            WINDOW,
            "cancels = 3",
            "cancel_count = 3",
            "\"cancel_count\" is there twice",
        ),
        (WINDOW, "{cancel_count}", "{count}", "{count} is unknown"),
        (
            WINDOW,
            "\"cancelled_quantity\"",
            "\"spoofing\"",
            "a detector is named spoofing already",
        ),
        (
            WINDOW,
            "\"cancelled_quantity\"",
            "\"Cancels\"",
            "lower-case letters",
        ),
        (SEQUENCE, "within = \"12s\"", "", "within is missing"),
        (
            SEQUENCE,
            "side == bait.side",
            "side == switch.side",
            "unknown name \"switch.side\"",
        ),
        (
            SEQUENCE,
            "order in bait",
            "order in switch",
            "no step of this name stands before",
        ),
        (
            SEQUENCE,
            "not = true",
            "not = true\nwithin = \"1s\"",
            "has no within",
        ),
        (
            SEQUENCE,
            "[\"new\"]",
            "[\"new\"]\nwithin = \"1s\"",
            "cannot be a `not`",
        ),
        (
            SEQUENCE,
            "bait.quantity / fill.quantity",
            "quantity",
            "unknown name \"quantity\"",
        ),
    ] {
        let found = error(text, from, to);
        assert!(found.contains(expected), "{from} -> {to}: {found}");
    }
    let twice = ["a", "b"].map(|name| (name.to_owned(), WINDOW.to_owned()));
    let errors = Rules::parse(&twice).unwrap_err();
    let place = |file: &str| {
        let line = WINDOW.lines().position(|line| line.starts_with("name = "));
        format!("{file}:{}:9", line.unwrap() + 1)
    };
    let (first, second) = (place("a"), place("b"));
    let text = errors[0].to_string();
    assert!(
        text.starts_with(&format!("{second}: another rule is named"))
            && text.ends_with(&format!(" at {first}")),
        "{text}"
    );
}

#[test]
fn what_a_rule_says_of_itself() {
    let infos: Vec<_> = both().infos().collect();
    let names: Vec<_> = infos
        .iter()
        .map(|info| (info.name, info.kind, info.market))
        .collect();
    let expected = [
        ("bait_then_switch", "sequence", true),
        ("cancelled_quantity", "window", false),
    ];
    assert_eq!(names, expected);
    assert_eq!(infos[1].measures, ["cancel_quantity", "cancel_count"]);
    assert_eq!(infos[1].group, ["sym", "trader", "side"]);
    assert_eq!(infos[1].params[1], ("cancels".to_owned(), "3".to_owned()));
}

#[test]
fn rules_are_a_part_of_the_configuration() {
    let config = DetectConfig::default().with_rules(both());
    let again = DetectConfig::from_canonical(&config.canonical()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.canonical(), config.canonical());
    let version = |text: &str| {
        let config = DetectConfig::default().with_rules(parse(text).unwrap());
        config.version("cancelled_quantity")
    };
    assert_eq!(version(WINDOW), config.version("cancelled_quantity"));
    assert_eq!(version(&format!("# a comment\n{WINDOW}")), version(WINDOW));
    assert_ne!(version(&WINDOW.replace("4000", "4001")), version(WINDOW));
    assert_ne!(config, DetectConfig::default());
    let mut one = config.clone();
    one.only(&["cancelled_quantity".to_owned()]).unwrap();
    assert_eq!(one.rules().len(), 1);
    assert_eq!(one.params("spoofing"), None);
    let mut set = config.clone();
    set.set("spoofing.cancel_count=9").unwrap();
    assert_eq!(
        set.rules(),
        config.rules(),
        "a parameter leaves rules alone"
    );
    let wrong = config.canonical().replace("sum(quantity)", "sum(quantty)");
    let error = DetectConfig::from_canonical(&wrong)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown name \"quantty\""), "{error}");
}

/// Hits of an engine that is told another configuration after a part of the orders.
fn hits_with_change(
    orders: &[Order],
    at: usize,
    first: &DetectConfig,
    then: &DetectConfig,
) -> Vec<Hit> {
    let mut engine = Engine::new(first, Shard::WHOLE).unwrap();
    let mut hits = Vec::new();
    engine.apply(&batch(&orders[..at]), &mut hits);
    engine.reconfigure(then).unwrap();
    engine.apply(&batch(&orders[at..]), &mut hits);
    hits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Another rule beside it leaves a rule's windows alone; another text begins it anew.
    #[test]
    fn windows_of_rules_that_did_not_change_are_kept(rows in rows(), at in any::<prop::sample::Index>()) {
        let orders = orders(&rows);
        let at = at.index(orders.len());
        let rule = |text: &str| {
            let mut config = DetectConfig::default().with_rules(parse(text).unwrap());
            config.only(&["cancelled_quantity".to_owned()]).unwrap();
            config
        };
        let alone = rule(WINDOW);
        let beside = DetectConfig::default().with_rules(both());
        let mine = |hits: Vec<Hit>| -> Vec<Hit> {
            hits.into_iter().filter(|hit| hit.detector == "cancelled_quantity").collect()
        };
        let undisturbed = hits_with_change(&orders, at, &alone, &alone);
        prop_assert_eq!(&mine(hits_with_change(&orders, at, &alone, &beside)), &undisturbed);
        let changed = rule(&WINDOW.replace("version = 1", "version = 2"));
        let found = hits_with_change(&orders, at, &alone, &changed);
        let second = found.into_iter().filter(|hit| hit.detector_version == 2);
        let mut anew = Engine::new(&changed, Shard::WHOLE).unwrap();
        let mut expected = Vec::new();
        anew.apply(&batch(&orders[at..]), &mut expected);
        prop_assert_eq!(second.collect::<Vec<_>>(), expected);
    }

    /// At one event the registry's hits come first, then those of rules by name.
    #[test]
    fn hits_are_in_order(rows in rows()) {
        let config = DetectConfig::default().with_rules(both());
        let mut engine = Engine::new(&config, Shard::WHOLE).unwrap();
        let mut hits = Vec::new();
        engine.apply(&batch(&orders(&rows)), &mut hits);
        let places: Vec<_> = hits.iter().map(|hit| (hit.order.seq, hit.detector != "spoofing")).collect();
        prop_assert!(places.is_sorted(), "{places:?}");
        let spoofing = hits.iter().filter(|hit| hit.detector == "spoofing").count();
        prop_assert_eq!(spoofing * 2, hits.len());
    }

    /// Whatever a file says, it is a rule or it is refused with a place inside it.
    #[test]
    fn no_file_hurts(
        text in "\\PC{0,200}",
        which in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        put in "[ -~\\n]{0,12}",
    ) {
        let whole = if which { WINDOW } else { SEQUENCE };
        let at = cut.index(whole.len());
        let changed = format!("{}{put}{}", &whole[..at], whole.get(at + 3..).unwrap_or_default());
        for text in [text, changed] {
            if let Err(errors) = parse(&text) {
                let lines = text.matches('\n').count() + 1;
                prop_assert!(errors.iter().all(|error| (1..=lines).contains(&error.line)), "{errors:?}");
            }
        }
    }

    /// Whatever the bytes, a saved state is refused or taken, and what was taken goes on.
    #[test]
    fn wrong_states_are_refused(rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut config = DetectConfig::default().with_rules(both());
        config.only(&["bait_then_switch".to_owned(), "cancelled_quantity".to_owned()]).unwrap();
        let orders = batch(&orders(&rows));
        let mut engine = Engine::new(&config, Shard::WHOLE).unwrap();
        let mut hits = Vec::new();
        engine.apply(&orders, &mut hits);
        let mut saved = engine.state().to_bytes();
        let place = at.index(saved.len());
        saved[place] = byte;
        let mut other = Engine::new(&config, Shard::WHOLE).unwrap();
        if other.load(&saved).is_ok() {
            other.apply(&orders, &mut hits);
        }
    }
}
