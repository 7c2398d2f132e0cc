//! The keys of the configuration file and their documentation.
//!
//! Invariant: a key is here exactly when the file may have it; a test compares.

/// Documentation of a key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
}

/// Every key of the file but those of the detectors, which their registry documents.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "data",
        doc: "Directory of the journal and the history. Relative to the working directory.",
    },
    Key {
        name: "listen",
        doc: "Address and port of the web page and the API. Anything but loopback opens it to the network.",
    },
    Key {
        name: "tls.cert",
        doc: "File with the server's certificate and those above it (PEM). With it every connection is TLS. Empty: none.",
    },
    Key {
        name: "tls.key",
        doc: "File with its key (PEM).",
    },
    Key {
        name: "tls.client_ca",
        doc: "File with the authorities (PEM) one of which must have signed a client's certificate. Empty: none is asked for.",
    },
    Key {
        name: "tls.ca",
        doc: "File with the authorities (PEM) that this process trusts when it connects to another. With it roles speak TLS to each other.",
    },
    Key {
        name: "kdb.users",
        doc: "File with the users that may log in as kdb+ clients, a line each as `tapewatch config kdb-user` prints it. Empty: anybody where the address is a loopback address, nobody elsewhere.",
    },
    Key {
        name: "postgres.users",
        doc: "File with the users that may log in as Postgres clients, a line each as `tapewatch config postgres-user` prints it; it may be that of kdb.users. Empty: anybody where the address is a loopback address, nobody elsewhere.",
    },
    Key {
        name: "journal.listen",
        doc: "Address and port of the role `journal`, where the other roles and clients find it; open when the role is named.",
    },
    Key {
        name: "recent.listen",
        doc: "Address and port of the role `recent`; open when the role is named.",
    },
    Key {
        name: "engine.listen",
        doc: "Address and port of the role `engine`; open when the role is named.",
    },
    Key {
        name: "history.listen",
        doc: "Address and port of the role `history`; open when the role is named.",
    },
    Key {
        name: "history.url",
        doc: "Where the history lives: a directory, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`. Empty: `history` in the directory of the data.",
    },
    Key {
        name: "history.options",
        doc: "What the client of the bucket is told over what the environment says, a list of `NAME=VALUE`: `endpoint=http://127.0.0.1:9000`, `allow_http=true`, `region=eu-central-1`. Secrets only as `NAME=env:VARIABLE` or `NAME=file:PATH`.",
    },
    Key {
        name: "history.compact",
        doc: "Whether an end of day writes a day's small files anew as few, once there are eight.",
    },
    Key {
        name: "history.keep_days",
        doc: "Days whose rows stay in the history, by their own date; older ones are taken out after an end of day. 0: all.",
    },
    Key {
        name: "history.versions_for",
        doc: "How long older versions of the history can be read; files that only they need are deleted after that. At least `1h`.",
    },
    Key {
        name: "peers.journal",
        doc: "Where the role `journal` is, `host:port`, for roles in other processes.",
    },
    Key {
        name: "peers.recent",
        doc: "Where the roles `recent` are, a list of `host:port`: a gateway asks the first that answers.",
    },
    Key {
        name: "peers.engine",
        doc: "Where the roles `engine` are, a list of `host:port`: a gateway shows whether they are ready.",
    },
    Key {
        name: "peers.history",
        doc: "Where the role `history` is, `host:port`: a gateway asks it for the end of day.",
    },
    Key {
        name: "peers.scheduler",
        doc: "Where the role `scheduler` takes queries and executors (its `scheduler.grpc`), `host:port`.",
    },
    Key {
        name: "thresholds",
        doc: "File with spoofing thresholds in the reference system's form (CSV); over `detectors.spoofing`. Empty: none.",
    },
    Key {
        name: "reference",
        doc: "File with reference tables (JSON or TOML): classes of instruments, linked accounts, client groups, news. Empty: none.",
    },
    Key {
        name: "log.format",
        doc: "`human` or `json`, one line an event, on standard error.",
    },
    Key {
        name: "log.level",
        doc: "`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tapewatch=debug`.",
    },
    Key {
        name: "journal.fsync",
        doc: "`always`: an acknowledged row survives power loss. `interval:10ms`: it survives the end of the process; a power loss may take the last interval. `os`: it survives the end of the process; a power loss may take what the system had not yet written.",
    },
    Key {
        name: "journal.segment_bytes_max",
        doc: "A new segment file is begun before one grows beyond this.",
    },
    Key {
        name: "journal.retention_age",
        doc: "Segments whose newest row is older than this, and that are in the history, are deleted after an end of day. `0s`: kept for ever.",
    },
    Key {
        name: "journal.retention_bytes",
        doc: "Oldest segments that are in the history are deleted after an end of day until the journal is at most this big. 0: no limit.",
    },
    Key {
        name: "checkpoint.interval",
        doc: "How often the detectors' windows are saved, so that a start need not fold the whole journal again. One is also saved at a clean stop. `0s`: only then.",
    },
    Key {
        name: "engine.shards",
        doc: "Threads that detect, each for its part of the instruments; the alerts are the same for any number. More than one pays off only when one core is not enough.",
    },
    Key {
        name: "engine.share",
        doc: "Which instruments a role `engine` owns when there are several: `1/3` is the second of three shares; `ordinal/3` takes the number at the end of the host's name. All processes must agree on how many there are.",
    },
    Key {
        name: "rules.dir",
        doc: "Folder of users' rules, a `.toml` file each. They come into force at the start, when a file changes and on SIGHUP, if all are right. Empty: none.",
    },
    Key {
        name: "session.rolls_at",
        doc: "Time of day (UTC, hh:mm) at which today's rows become history, or `never`.",
    },
    Key {
        name: "recent.rows_max",
        doc: "Rows held in memory before they become history ahead of time.",
    },
    Key {
        name: "recent.memory_max",
        doc: "Bytes of memory that today's orders may take; beyond, older ones move to files in the data directory, where queries find them. 0: no limit.",
    },
    Key {
        name: "sql.memory_bytes_max",
        doc: "Memory that all running SQL queries together may take for sorts, joins and aggregates. A query runs once its `sql.query_memory_bytes_max` is free; until then it waits.",
    },
    Key {
        name: "sql.query_memory_bytes_max",
        doc: "Memory of that kind that is set aside for each query, at most `sql.memory_bytes_max`; beyond, it spills to disk or ends with an error. A request may ask for less, at least 16 MiB: then more queries run at once.",
    },
    Key {
        name: "sql.spill_bytes_max",
        doc: "What a query may write to the system's temporary directory; beyond, it ends with an error.",
    },
    Key {
        name: "sql.timeout",
        doc: "A query that runs longer, reading its answer included, ends with an error; the time that it waits does not count. A request may ask for less.",
    },
    Key {
        name: "sql.rows_max",
        doc: "A query ends with an error behind so many rows of its answer. A request may ask for less. 0: no limit.",
    },
    Key {
        name: "sql.waiting_max",
        doc: "Queries that may wait for their turn; one more is refused with 429.",
    },
    Key {
        name: "sql.distributed",
        doc: "Whether the role `recent` has executors run queries that read the history, by the scheduler at `peers.scheduler`.",
    },
    Key {
        name: "sql.parts",
        doc: "In how many parts the rows of such a query are divided between its steps: about twice the cores of all executors.",
    },
    Key {
        name: "sql.at",
        doc: "Where executors find this process, `host:port`, for rows that only it has. Empty: the address that it listens on.",
    },
    Key {
        name: "scheduler.listen",
        doc: "Address and port of the role `scheduler` for health and metrics.",
    },
    Key {
        name: "scheduler.grpc",
        doc: "Address and port at which it takes queries and executors; Ballista's, without TLS.",
    },
    Key {
        name: "scheduler.plain",
        doc: "Whether that address may be another than a loopback address.",
    },
    Key {
        name: "executor.listen",
        doc: "Address and port of a role `executor` for health and metrics.",
    },
    Key {
        name: "executor.flight",
        doc: "Address and port at which it gives rows to other executors and to who asked; Ballista's, without TLS.",
    },
    Key {
        name: "executor.grpc_port",
        doc: "Port of the same address at which the scheduler gives it steps; Ballista's, without TLS.",
    },
    Key {
        name: "executor.plain",
        doc: "Whether that address may be another than a loopback address.",
    },
    Key {
        name: "executor.host",
        doc: "Name or address by which the others find it. Empty: the address of `executor.flight`, or this host's name.",
    },
    Key {
        name: "executor.cores",
        doc: "Steps that it runs at once. 0: one a core.",
    },
    Key {
        name: "executor.memory_bytes_max",
        doc: "Memory that its steps together may take for sorts, joins and aggregates; each has its share, and beyond it spills or ends with an error.",
    },
];
