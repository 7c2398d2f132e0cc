//! `tapewatch history`: versions, damage and its repair from the journal, small files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};

use support::{Server, data, run, tapewatch};

fn history(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let (command, rest) = arguments.split_first().unwrap();
    run(tapewatch()
        .args(["history", command, "--data"])
        .arg(dir)
        .args(rest))
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(data_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "parquet") {
            files.push(path);
        }
    }
    files
}

#[test]
fn what_is_damaged_is_found_and_comes_back_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    assert_eq!(server.feed(&data("spoofingData.csv"), &[]).0, 0);
    assert_eq!(run(&mut server.command(&["eod"])).0, 0);
    assert_eq!(server.terminate(), 0);
    let data = dir.path().join("data");
    let (code, _, error) = history(dir.path(), &["check"]);
    assert!(
        code == 2 && error.contains("neither a journal nor a history"),
        "{error}"
    );
    let sql = "select o.seq, o.order_id, h.seq as hit from orders o left join hits h on h.seq = o.seq order by o.seq";
    let ask = || {
        run(tapewatch()
            .args(["sql", "--format", "csv", "--data"])
            .arg(&data)
            .arg(sql))
    };
    let before = ask();
    assert_eq!(
        history(&data, &["check"]),
        (0, "2 files, 0 damaged\n".to_owned(), String::new())
    );
    let (code, versions, _) = history(&data, &["versions"]);
    assert!(
        code == 0 && versions.lines().count() == 5 && versions.contains("WRITE"),
        "{versions}"
    );
    for file in data_files(&data.join("history")) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    // What is there goes on, with a checkpoint and without.
    for from_checkpoint in [true, false] {
        let mut server = Server::start(dir.path(), &[]);
        if from_checkpoint {
            let log = server.log();
            assert!(log.contains("alerts of the history do not show"), "{log}");
        }
        let asked = run(&mut server.command(&["sql", "select text from hits"]));
        assert!(
            asked.0 != 0 && asked.2.contains("of table hits does not have its checksum"),
            "{asked:?}"
        );
        assert_eq!(server.terminate(), 0);
        std::fs::remove_dir_all(data.join("checkpoints")).unwrap();
    }
    let (code, text, error) = history(&data, &["check"]);
    assert_eq!(code, 3, "{error}");
    assert!(
        text.contains("orders 2015-04-17: ")
            && text.contains("does not have its checksum: 10 rows, sequence numbers 2 to 11"),
        "{text}{error}"
    );
    let (code, text, error) = history(&data, &["check", "--repair"]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(
        text.contains("orders 2015-04-17: 10 rows, all are in the table again"),
        "{text}"
    );
    assert!(
        text.contains("hits 2015-04-17: 1 rows, all are in the table again"),
        "{text}"
    );
    assert_eq!(ask(), before);
    assert_eq!(history(&data, &["compact"]).0, 0);
    assert_eq!(history(&data, &["vacuum"]).0, 0);
    assert_eq!(ask(), before);
}
