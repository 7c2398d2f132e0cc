//! Both sides of our own: who trusts whom, and what is in force after a change.
#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;

/// Files of one authority and of a certificate that it signed.
fn files(dir: &Path, name: &str) -> TlsConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["role.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let write = |kind: &str, pem: String| {
        let path = dir.join(format!("{name}.{kind}"));
        std::fs::write(&path, pem).unwrap();
        path
    };
    let ca = write("ca", authority.pem());
    TlsConfig {
        cert: write("crt", leaf.pem()),
        key: write("key", key.serialize_pem()),
        client_ca: ca.clone(),
        ca,
    }
}

/// Shakes hands over a pipe and passes one word on; what either side says of it.
async fn meet(tls: &Tls, client: &TlsConfig) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = client.client_or_last();
    let connector = TlsConnector::from(client.map_err(|error| error.to_string())?);
    let name = ServerName::try_from("role.example").unwrap();
    let ask = async {
        let mut stream = connector.connect(name, near).await?;
        stream.write_all(b"word").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await
    };
    let answer = async {
        let mut stream = tls.acceptor().accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await
    };
    let (asked, answered) = tokio::join!(ask, answer);
    answered.map_err(|error| error.to_string())?;
    asked.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn roles_trust_each_other_by_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (files(dir.path(), "ours"), files(dir.path(), "other"));
    let tls = Tls::load(&ours).unwrap().unwrap();
    meet(&tls, &ours).await.unwrap();
    let stranger = TlsConfig {
        ca: ours.ca.clone(),
        ..other.clone()
    };
    let refused = meet(&tls, &stranger).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let nameless = TlsConfig {
        ca: ours.ca.clone(),
        ..TlsConfig::default()
    };
    // It shakes hands, and may then ask whether the process is well: see `port`.
    assert!(tls.demands_certificate());
    meet(&tls, &nameless).await.unwrap();
    let careless = TlsConfig::default();
    let refused = meet(&tls, &careless).await.unwrap_err();
    assert!(refused.contains("tls.ca"), "{refused}");
}

#[tokio::test]
async fn a_change_comes_into_force_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let ours = files(dir.path(), "ours");
    let tls = Tls::load(&ours).unwrap().unwrap();
    assert_eq!(tls.reload(), Ok(false));
    meet(&tls, &ours).await.unwrap();
    for wrong in [&b""[..], b"-----BEGIN", &std::fs::read(&ours.cert).unwrap()] {
        std::fs::write(&ours.key, wrong).unwrap();
        let error = tls.reload().unwrap_err();
        assert!(error.starts_with("tls.key"), "{error}");
        assert!(ours.client().is_err());
        meet(&tls, &ours).await.unwrap();
    }
    let next = files(dir.path(), "ours");
    assert_eq!(tls.reload(), Ok(true));
    meet(&tls, &next).await.unwrap();
}

#[test]
fn a_certificate_without_its_key_is_told_of_and_so_is_a_key_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let whole = files(dir.path(), "one");
    let alone = TlsConfig {
        key: PathBuf::new(),
        ..whole.clone()
    };
    let error = alone.client().unwrap_err().to_string();
    assert!(
        error.contains("tls.cert is set and tls.key is not"),
        "{error}"
    );
    let no_key = TlsConfig {
        key: whole.cert.clone(),
        ..whole
    };
    let error = no_key.client().unwrap_err().to_string();
    assert!(
        error.contains("one.crt: there is no private key in it: PEM is wanted"),
        "{error}"
    );
}
