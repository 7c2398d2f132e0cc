//! The last stage of a Dockerfile, as far as it can be followed without an engine.
//!
//! Invariant: an instruction that is not understood is refused, never passed over.

use crate::failure::{Failure, Outcome};

/// What the last stage says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) copies: Vec<Copy>,
    /// User and group by number, `1:1`.
    pub(super) user: String,
    /// Directories that stay writable.
    pub(super) volumes: Vec<String>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
}

/// One COPY.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// From the stage that builds, else from the checkout.
    pub(super) built: bool,
    pub(super) source: String,
    pub(super) destination: String,
}

impl Recipe {
    /// Reads the last stage, which must begin with nothing.
    pub(super) fn of(dockerfile: &str) -> Outcome<Self> {
        let instructions = instructions(dockerfile);
        let last = instructions
            .iter()
            .rposition(|(name, _)| name == "FROM")
            .unwrap_or(0);
        let mut stage = instructions.iter().skip(last);
        if !matches!(stage.next(), Some((_, base)) if base == "scratch") {
            return Err(Failure::new("the last stage must be `FROM scratch`"));
        }
        let mut recipe = Self::default();
        for (name, rest) in stage {
            match name.as_str() {
                "COPY" => recipe.copies.push(Copy::of(rest)?),
                "USER" => recipe.user = rest.clone(),
                "VOLUME" => recipe.volumes = list(rest)?,
                "ENTRYPOINT" | "CMD" => recipe.command.extend(list(rest)?),
                "WORKDIR" | "EXPOSE" | "ARG" | "LABEL" => {}
                _ => return Err(not_followed(name, rest)),
            }
        }
        Ok(recipe)
    }
}

impl Copy {
    fn of(rest: &str) -> Outcome<Self> {
        let (options, paths): (Vec<&str>, Vec<&str>) = rest
            .split_whitespace()
            .partition(|word| word.starts_with("--"));
        let understood = options
            .iter()
            .all(|option| *option == "--from=build" || option.starts_with("--chown="));
        match (understood, paths.as_slice()) {
            (true, [source, destination]) => Ok(Self {
                built: options.contains(&"--from=build"),
                source: (*source).to_owned(),
                destination: (*destination).to_owned(),
            }),
            _ => Err(not_followed("COPY", rest)),
        }
    }
}

fn not_followed(name: &str, rest: &str) -> Failure {
    Failure::new(format!(
        "`{name} {rest}` cannot be followed without an engine"
    ))
}

/// The exec form: a JSON list.
fn list(text: &str) -> Outcome<Vec<String>> {
    serde_json::from_str(text)
        .map_err(|_| Failure::new(format!("`{text}` is not a list in the exec form")))
}

/// Names in capitals and what follows them, continued lines joined, comments left out.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile.lines().map(str::trim);
    let text: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    let joined = text.join("\n").replace("\\\n", " ");
    let whole = joined.lines().filter_map(|line| line.split_once(' '));
    whole
        .map(|(name, rest)| (name.to_ascii_uppercase(), rest.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_is_read_and_the_others_are_not() {
        let text = "FROM a AS build\nRUN x \\\n  # why\n  y\nFROM scratch\nCOPY --from=build --chown=1:1 /out/a /a\n\
                    copy etc /etc\nUSER 1:1\nENTRYPOINT [\"/a\"]\nCMD [\"up\"]\nVOLUME [\"/b\"]\nLABEL x=\"1\" \\\n  y=\"2\"\n";
        let copy = |built, source: &str, destination: &str| Copy {
            built,
            source: source.to_owned(),
            destination: destination.to_owned(),
        };
        assert_eq!(
            Recipe::of(text),
            Ok(Recipe {
                copies: vec![copy(true, "/out/a", "/a"), copy(false, "etc", "/etc")],
                user: "1:1".to_owned(),
                volumes: vec!["/b".to_owned()],
                command: vec!["/a".to_owned(), "up".to_owned()],
            })
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for last in [
            "RUN x",
            "COPY --from=other /a /b",
            "COPY a b c",
            "CMD up",
            "ADD a b",
        ] {
            assert!(
                Recipe::of(&format!("FROM scratch\n{last}\n")).is_err(),
                "{last}"
            );
        }
        assert!(Recipe::of("FROM debian\n").is_err());
    }
}
