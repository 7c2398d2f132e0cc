//! Who may log in as a kdb+ or Postgres client: files of names and salted digests of passwords.
//!
//! Invariant: a password is compared in a time that tells nothing of it, and so is that of a name
//! that there is not; neither is ever shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::{digest, pbkdf2, rand};
use tapewatch_connect::kdb::wire::Credentials;
use tokio::sync::Semaphore;

use crate::failure::Failure;

/// How a digest is made, as the file names it.
const SCHEME: &str = "pbkdf2-sha256";
/// Rounds of a digest that is made here.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(199_999);
/// Most rounds of a digest in the file.
const ROUNDS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
/// Passwords that are looked at, at a time.
const CHECKS_MAX: usize = 2;

/// Users.
pub(crate) struct Users {
    /// Empty: anybody on loopback, nobody else.
    known: BTreeMap<String, Digest>,
    checks: Semaphore,
}

/// Whether somebody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Accepted,
    Refused(&'static str),
}

/// What there is of a password.
#[derive(Clone)]
pub(crate) struct Digest {
    pub(crate) rounds: NonZeroU32,
    pub(crate) salt: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

impl Users {
    /// Reads the file that the setting `key` names; without one there are none.
    ///
    /// # Errors
    /// The file and line that are wrong; what stands there is not said.
    pub(crate) fn load(key: &str, path: &Path) -> Result<Self, Failure> {
        if path.as_os_str().is_empty() {
            return Ok(Self::of(BTreeMap::new()));
        }
        let wrong = |what: &str| {
            Failure::usage(format!("configuration: {key}: {}: {what}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        let mut known = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let user = line.split_once(':').and_then(|(name, digest)| {
                Some((name.to_owned(), Digest::parse(digest.trim_end())?))
            });
            let (name, digest) = user.ok_or_else(|| {
                wrong(&format!(
                    "line {number} is not as `tapewatch config kdb-user NAME` prints it"
                ))
            })?;
            known.insert(name, digest);
        }
        match known.is_empty() {
            true => Err(wrong("has no users")),
            false => Ok(Self::of(known)),
        }
    }

    fn of(known: BTreeMap<String, Digest>) -> Self {
        let checks = Semaphore::new(CHECKS_MAX);
        Self { known, checks }
    }

    /// What there is of a user's password, and whether there is such a user; `None` when there are
    /// none at all. For a name that there is not it is always the same, and of no password.
    pub(crate) fn digest(&self, user: &str) -> Option<(Digest, bool)> {
        if self.known.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(user) {
            return Some((known.clone(), true));
        }
        let mut context = digest::Context::new(&digest::SHA256);
        for known in self.known.values() {
            context.update(&known.digest);
        }
        context.update(user.as_bytes());
        let salt = context.finish();
        let salt = salt.as_ref().iter().copied().take(SALT_BYTES);
        let nobody = Digest::nobody();
        // As many rounds as those of who is there: another number would tell.
        let rounds = self
            .known
            .values()
            .next()
            .map_or(nobody.rounds, |known| known.rounds);
        Some((
            Digest {
                rounds,
                salt: salt.collect(),
                ..nobody
            },
            false,
        ))
    }

    /// Whether a kdb+ client may come in; `loopback` when the address is only open to this machine.
    pub(crate) async fn login(&self, who: &Credentials, loopback: bool) -> Login {
        if self.known.is_empty() {
            return match loopback {
                true => Login::Accepted,
                false => Login::Refused("this address is open to the network: set kdb.users"),
            };
        }
        let Ok(_permit) = self.checks.acquire().await else {
            return Login::Refused("stopping");
        };
        let known = self.known.get(&who.user).cloned();
        let (is_known, digest) = (known.is_some(), known.unwrap_or_else(Digest::nobody));
        let password = who.password.clone();
        // Many rounds: beside the runtime's workers.
        let right = tokio::task::spawn_blocking(move || digest.is_of(&password));
        match right.await.unwrap_or(false) && is_known {
            true => Login::Accepted,
            false => Login::Refused("unknown user or wrong password"),
        }
    }
}

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let [scheme, rounds, salt, digest] = [(); 4].map(|()| parts.next());
        let digest = Self {
            rounds: rounds?
                .parse()
                .ok()
                .filter(|rounds: &NonZeroU32| rounds.get() <= ROUNDS_MAX)?,
            salt: from_hex(salt?)?,
            digest: from_hex(digest?)?,
        };
        let good =
            scheme? == SCHEME && parts.next().is_none() && digest.digest.len() == DIGEST_BYTES;
        good.then_some(digest)
    }

    /// What a name is compared with that there is not.
    fn nobody() -> Self {
        Self {
            rounds: ROUNDS,
            salt: vec![0; SALT_BYTES],
            digest: vec![0; DIGEST_BYTES],
        }
    }

    fn is_of(&self, password: &str) -> bool {
        let (salt, digest) = (&self.salt, &self.digest);
        pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            self.rounds,
            salt,
            password.as_bytes(),
            digest,
        )
        .is_ok()
    }
}

/// The line of a user whose password is the first line of standard input.
///
/// # Errors
/// As [`line`].
pub(crate) fn read_line(name: &str) -> Result<String, Failure> {
    let mut password = String::new();
    let read = std::io::stdin().read_line(&mut password);
    read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    line(name, password.trim_end_matches(['\n', '\r']))
}

/// A line for the file: the name and a digest of the password with new salt.
///
/// # Errors
/// When the name cannot stand in a greeting or the file, or there is no randomness.
fn line(name: &str, password: &str) -> Result<String, Failure> {
    if name.is_empty() || name.starts_with('#') || name.contains([':', '\0', '\n', '\r']) {
        return Err(Failure::usage(
            "the name must have letters, no colon, and no # in front",
        ));
    }
    if password.is_empty() || password.contains(['\0', '\n', '\r']) {
        return Err(Failure::usage(
            "the password is one line of standard input, not empty",
        ));
    }
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| Failure::run("the system gives no random numbers"))?;
    let mut digest = [0; DIGEST_BYTES];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, ROUNDS, &salt, password.as_bytes(), &mut digest);
    Ok(format!(
        "{name}:{SCHEME}${ROUNDS}${}${}\n",
        hex(&salt),
        hex(&digest)
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a text cannot fail
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| Some((*byte as char).to_digit(16)? as u8);
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn who(user: &str, password: &str) -> Credentials {
        let bytes = format!("{user}:{password}\u{3}\0");
        Credentials::parse(bytes.as_bytes()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn only_those_in_the_file_come_in() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let text = format!(
            "# feeds\n\n{}{}",
            line("feed", "s3cret:x").unwrap(),
            line("desk", "y").unwrap()
        );
        std::fs::write(&file, &text).unwrap();
        assert!(!text.contains("s3cret"));
        let users = Users::load("kdb.users", &file).unwrap();
        assert_eq!(
            users.login(&who("feed", "s3cret:x"), false).await,
            Login::Accepted
        );
        for (user, password) in [("feed", "y"), ("nobody", "y"), ("", ""), ("feed", "")] {
            let login = users.login(&who(user, password), true).await;
            assert_eq!(
                login,
                Login::Refused("unknown user or wrong password"),
                "{user}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_file_anybody_on_this_machine() {
        let users = Users::load("kdb.users", Path::new("")).unwrap();
        assert_eq!(users.login(&who("", ""), true).await, Login::Accepted);
        assert!(matches!(
            users.login(&who("a", "b"), false).await,
            Login::Refused(_)
        ));
    }

    #[test]
    fn a_name_that_there_is_not_looks_like_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, line("feed", "secret").unwrap()).unwrap();
        let users = Users::load("postgres.users", &file).unwrap();
        let (feed, known) = users.digest("feed").unwrap();
        assert!(known && feed.is_of("secret"));
        let (one, known) = users.digest("one").unwrap();
        assert!(!known && one.rounds == feed.rounds && one.salt.len() == feed.salt.len());
        assert_eq!(users.digest("one").unwrap().0.salt, one.salt);
        assert_ne!(users.digest("two").unwrap().0.salt, one.salt);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let good = line("a", "b").unwrap();
        for wrong in [
            "a:hunter2",
            "a",
            "a:pbkdf2-sha256$0$00$00",
            "a:pbkdf2-sha256$1$0$00",
            &good.replace("sha256", "md5"),
        ] {
            std::fs::write(&file, format!("{good}{wrong}\n")).unwrap();
            let error = Users::load("kdb.users", &file).err().unwrap().to_string();
            assert!(
                error.contains("line 2") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(line("a:b", "c").is_err() && line("a", "").is_err());
    }
}
