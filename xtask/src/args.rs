//! The command line after the command's name: flags, options with a value, and words.

use crate::failure::{Failure, Outcome};

/// What is left of the command line; each question takes its answer out.
#[derive(Debug, Default)]
pub(crate) struct Args {
    rest: Vec<String>,
}

impl Args {
    pub(crate) fn new(rest: Vec<String>) -> Self {
        Self { rest }
    }

    /// Whether `name` was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| word != name);
        self.rest.len() != before
    }

    /// The value of `--name VALUE` or `--name=VALUE`.
    pub(crate) fn option(&mut self, name: &str) -> Outcome<Option<String>> {
        let prefix = format!("{name}=");
        let Some(at) = self
            .rest
            .iter()
            .position(|word| word == name || word.starts_with(&prefix))
        else {
            return Ok(None);
        };
        let word = self.rest.remove(at);
        if let Some(value) = word.strip_prefix(&prefix) {
            return Ok(Some(value.to_owned()));
        }
        if at < self.rest.len() {
            return Ok(Some(self.rest.remove(at)));
        }
        Err(Failure::usage(format!("{name} needs a value")))
    }

    /// The value of an option that is a number.
    pub(crate) fn number<N: std::str::FromStr>(&mut self, name: &str) -> Outcome<Option<N>> {
        self.option(name)?
            .map(|text| {
                text.parse().map_err(|_| {
                    Failure::usage(format!("{name}: `{text}` is not a number in range"))
                })
            })
            .transpose()
    }

    /// The next word that is not an option.
    pub(crate) fn word(&mut self, noun: &str) -> Outcome<String> {
        match self.rest.iter().position(|word| !word.starts_with('-')) {
            Some(at) => Ok(self.rest.remove(at)),
            None => Err(Failure::usage(format!("{noun} is missing"))),
        }
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) -> Outcome<()> {
        match self.rest.first() {
            Some(word) => Err(Failure::usage(format!("`{word}` is not known here"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn both_spellings_of_an_option() {
        assert_eq!(args("--port 0").number("--port"), Ok(Some(0_u16)));
        assert_eq!(args("--port=81").number("--port"), Ok(Some(81_u16)));
        assert_eq!(args("").number::<u16>("--port"), Ok(None));
        assert!(args("--port 70000").number::<u16>("--port").is_err());
        assert!(args("--port").option("--port").is_err());
    }

    #[test]
    fn leftovers_are_refused() {
        let mut line = args("detector --fast x");
        assert!(line.flag("--fast"));
        assert_eq!(line.word("KIND"), Ok("detector".to_owned()));
        assert!(line.finish().is_err());
    }
}
