//! SCRAM-SHA-256 (RFC 5802, RFC 7677): a client shows that it knows a password without saying it, and is
//! shown that this process knows it too.
//!
//! Invariant: the password is never here, only its salted digest; a name that there is not costs the
//! same messages, with a salt that stays the same; proofs are compared in a time that tells nothing.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How it is called.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";
/// Bytes of our part of the nonce.
const NONCE_BYTES: usize = 18;
/// Longest nonce of a client.
const NONCE_MAX: usize = 512;

/// What there is of a password: PBKDF2-HMAC-SHA256 with so many rounds over this salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// How many rounds.
    pub rounds: NonZeroU32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest.
    pub digest: Vec<u8>,
    /// Whether there is such a user: nothing is right for one that there is not.
    pub known: bool,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The messages are not SCRAM's.
    Malformed(&'static str),
    /// The password is another.
    Wrong,
    /// There is no randomness.
    Broken,
}

/// What was said, and is to be confirmed.
pub(super) struct Exchange {
    secret: Secret,
    /// The head of the client's first message, which it repeats.
    head: String,
    bare: String,
    nonce: String,
    challenge: String,
}

impl Exchange {
    /// Reads the client's first message; [`Self::challenge`] is the answer.
    pub(super) fn begin(secret: Secret, first: &[u8]) -> Result<Self, Refused> {
        let mut random = [0; NONCE_BYTES];
        rand::fill(&mut random).map_err(|_| Refused::Broken)?;
        Self::with_nonce(secret, first, &STANDARD.encode(random))
    }

    fn with_nonce(secret: Secret, first: &[u8], ours: &str) -> Result<Self, Refused> {
        let wrong = Refused::Malformed;
        let first = std::str::from_utf8(first).map_err(|_| wrong("it is not UTF-8"))?;
        // Channel binding is offered to nobody, so `p` cannot be; `y` says that the client knew it.
        let mut parts = first.splitn(3, ',');
        let (Some("n" | "y"), Some(authorization), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong("channel binding is not offered"));
        };
        if !authorization.is_empty() {
            return Err(wrong("another user's name is not taken"));
        }
        // The name was said at the start of the session; PostgreSQL leaves out this one too.
        let theirs = match bare.split_once(",r=") {
            Some((name, rest)) if name.starts_with("n=") => rest.split(',').next(),
            _ => None,
        };
        let theirs = theirs.filter(|nonce| (1..=NONCE_MAX).contains(&nonce.len()));
        let theirs = theirs.ok_or(wrong("there is no nonce"))?;
        let nonce = format!("{theirs}{ours}");
        let salt = STANDARD.encode(&secret.salt);
        let challenge = format!("r={nonce},s={salt},i={}", secret.rounds);
        let head = first.strip_suffix(bare).unwrap_or_default().to_owned();
        Ok(Self {
            bare: bare.to_owned(),
            secret,
            head,
            nonce,
            challenge,
        })
    }

    pub(super) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Checks the client's last message: the answer, by which it knows us.
    pub(super) fn finish(self, last: &[u8]) -> Result<String, Refused> {
        let wrong = Refused::Malformed;
        let last = std::str::from_utf8(last).map_err(|_| wrong("it is not UTF-8"))?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or(wrong("there is no proof"))?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c="));
        if binding != Some(&STANDARD.encode(&self.head)) {
            return Err(wrong("it does not repeat its beginning"));
        }
        if parts.next().and_then(|part| part.strip_prefix("r=")) != Some(&self.nonce) {
            return Err(wrong("it does not repeat the nonce"));
        }
        let proof = STANDARD
            .decode(proof)
            .map_err(|_| wrong("the proof is not base64"))?;
        let said = format!("{},{},{without_proof}", self.bare, self.challenge);
        let client_key = sign(&self.secret.digest, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), said.as_bytes());
        let expected: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let right = constant_time::verify_slices_are_equal(&expected, &proof).is_ok();
        if !right || !self.secret.known {
            return Err(Refused::Wrong);
        }
        let server_key = sign(&self.secret.digest, b"Server Key");
        let server = sign(server_key.as_ref(), said.as_bytes());
        Ok(format!("v={}", STANDARD.encode(server)))
    }
}

fn sign(key: &[u8], what: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aws_lc_rs::pbkdf2;

    use super::*;

    /// The example of RFC 7677, section 3.
    fn example(known: bool) -> Exchange {
        let rounds = NonZeroU32::new(4096).unwrap();
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut digest = vec![0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            &salt,
            b"pencil",
            &mut digest,
        );
        let secret = Secret {
            rounds,
            salt,
            digest,
            known,
        };
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        Exchange::with_nonce(secret, first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap()
    }

    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_example_of_the_standard() {
        let exchange = example(true);
        assert_eq!(
            exchange.challenge(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let answer = exchange.finish(LAST.as_bytes());
        assert_eq!(
            answer.unwrap(),
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn what_is_not_right_is_refused() {
        assert_eq!(example(false).finish(LAST.as_bytes()), Err(Refused::Wrong));
        let other = LAST.replace("p=dHzb", "p=dHzc");
        assert_eq!(example(true).finish(other.as_bytes()), Err(Refused::Wrong));
        for last in [
            "",
            "c=biws",
            "c=eSws,r=x,p=",
            "c=biws,r=x,p=",
            "c=biws,p=AAAA",
            "\u{e9}",
        ] {
            let refused = example(true).finish(last.as_bytes());
            assert!(matches!(refused, Err(Refused::Malformed(_))), "{last}");
        }
        let secret = || example(true).secret;
        for first in [
            "",
            "n,,",
            "n,,n=,r=",
            "p=tls-unique,,n=,r=x",
            "n,a=b,n=,r=x",
            "n,,r=x",
        ] {
            let refused = Exchange::begin(secret(), first.as_bytes());
            assert!(matches!(refused, Err(Refused::Malformed(_))), "{first}");
        }
    }
}
