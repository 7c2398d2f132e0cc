//! Roles that speak mutual TLS to each other: together they are the one process; a wrong certificate is
//! named where somebody waits because of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use support::authority::{Authority, exchange};
use support::cluster::{Cluster, orders, undisturbed};
use support::{flight, run, wait_for};

/// A cluster whose processes show certificates of one authority and demand them.
fn mutual(authority: &Authority) -> Cluster {
    let mut cluster = Cluster::new("");
    let identity = authority.sign("role", 2999);
    let ca = authority.pem.display();
    cluster.all_have("TAPEWATCH_TLS__CERT", identity.cert.display());
    cluster.all_have("TAPEWATCH_TLS__KEY", identity.key.display());
    cluster.all_have("TAPEWATCH_TLS__CLIENT_CA", ca.to_string());
    cluster.all_have("TAPEWATCH_TLS__CA", ca);
    cluster
}

fn get(port: u16, path: &str, authority: &Authority) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    let answer = exchange(port, authority, None, request.as_bytes());
    answer.map_or_else(
        |error| error,
        |(answer, _)| String::from_utf8(answer).unwrap(),
    )
}

#[test]
fn a_cluster_over_mutual_tls_is_the_whole_and_takes_new_certificates_in() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let file = orders(dir.path(), 1_000);
    let (_one, expected) = undisturbed(dir.path(), &file);
    let mut cluster = mutual(&ours).filled();
    // Probes have no certificate; whoever has none hears nothing else.
    for port in [
        cluster.gateway().port,
        cluster.ports.journal,
        cluster.ports.engine,
    ] {
        wait_for("a role to be ready", || {
            get(port, "/readyz", &ours).starts_with("HTTP/1.1 200")
        });
        let refused = get(port, "/wire", &ours);
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
    cluster.feed(&file);
    cluster.comes_to(&expected, "over mutual TLS");
    // Arrow Flight too, from the client to the gateway and from there on.
    ours.sign("client", 2999);
    let url = format!("grpc+tls://127.0.0.1:{}", cluster.gateway().port);
    let (code, out, error) =
        run(flight(&url, &["publish", "one", "30", "10"]).env("FLIGHT_TLS", dir.path()));
    assert_eq!((code, out.lines().count()), (0, 3), "{error}");
    let (code, out, error) =
        run(flight(&url, &["follow", "7", "30"]).env("FLIGHT_TLS", dir.path()));
    assert!(code == 0 && out.contains("\"rows\": 23"), "{error}");
    // Renewed files are in force with the next connection, of either side.
    ours.sign("role", 2998);
    cluster.role("journal").kill();
    cluster.role("journal").restart();
    wait_for("all to be ready again", || {
        let ports = [cluster.gateway().port, cluster.ports.engine];
        let mut answers = ports.iter().map(|port| get(*port, "/readyz", &ours));
        answers.all(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    cluster.feed(&file);
    assert!(cluster.gateway().number("select count(*) from orders") > 1_000);
}

#[test]
fn a_wrong_certificate_is_named_where_somebody_waits_because_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Authority::new(dir.path(), "ours"),
        Authority::new(dir.path(), "other"),
    );
    let mut cluster = mutual(&ours);
    cluster.start("journal", "journal", &[]);
    let theirs = other.sign("stranger", 2999);
    let (cert, key) = (
        theirs.cert.display().to_string(),
        theirs.key.display().to_string(),
    );
    let foreign = other.pem.display().to_string();
    let port = cluster.ports.journal.to_string();
    for (environment, words) in [
        (vec![("TAPEWATCH_TLS__CA", &*foreign)], "UnknownIssuer"),
        (
            vec![
                ("TAPEWATCH_TLS__CERT", &*cert),
                ("TAPEWATCH_TLS__KEY", &*key),
            ],
            "nknownCA",
        ),
        (vec![("TAPEWATCH_TLS__CA", "")], "this port speaks TLS"),
        (
            vec![
                ("TAPEWATCH_TLS__CERT", ""),
                ("TAPEWATCH_TLS__KEY", ""),
                ("TAPEWATCH_TLS__CLIENT_CA", ""),
            ],
            "needs a client certificate",
        ),
    ] {
        cluster.start("gateway", "gateway", &environment);
        let nobody = environment.iter().any(|(_, value)| value.is_empty());
        let shown = if environment[0].0 == "TAPEWATCH_TLS__CERT" && !nobody {
            &other
        } else {
            &ours
        };
        let gateway = cluster.gateway();
        let waits = || match environment.len() {
            3 => gateway.get("/readyz").1,
            _ => get(gateway.port, "/readyz", shown),
        };
        wait_for(words, || {
            let text = waits();
            let line = text
                .lines()
                .find(|line| line.contains(&port))
                .unwrap_or_default();
            println!("{line}");
            line.contains("is away") && line.replace(' ', "").contains(&words.replace(' ', ""))
        });
    }
}
