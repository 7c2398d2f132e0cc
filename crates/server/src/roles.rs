//! Roles: what of the whole a process does, and where it listens for it.
//!
//! Invariant: without named roles a process does everything and listens on one address. The same
//! instrument belongs to the same share in every process that counts as many.

use std::net::SocketAddr;

use tapewatch_detect::Shard;

use crate::config::Config;
use crate::failure::Failure;

/// Most static shares of the instruments.
pub(crate) const SHARES_MAX: u32 = 1_024;

/// What a process can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Role {
    /// Takes rows, makes them durable, hands them on
    Journal,
    /// Detects
    Engine,
    /// Holds today's tables, answers questions
    Recent,
    /// Moves days to the history
    History,
    /// The page and the API for people, in front of the others
    Gateway,
    /// Everything but the two below
    All,
    /// Divides queries in steps and gives these to executors; a process of its own
    Scheduler,
    /// Runs steps of queries; a process of its own
    Executor,
}

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    set: u8,
    /// Whether they were named.
    named: bool,
}

impl Roles {
    /// Those that were named; everything when none was.
    pub(crate) fn named(roles: &[Role]) -> Self {
        let all = 1 << Role::Gateway as u8 | ((1 << Role::Gateway as u8) - 1);
        let bit = |role: &Role| match role {
            Role::All => all,
            role => 1 << *role as u8,
        };
        let set = roles.iter().map(bit).fold(0, |set, bit| set | bit);
        Self {
            set: if roles.is_empty() { all } else { set },
            named: !roles.is_empty(),
        }
    }

    /// Whether it is one of them.
    pub(crate) fn has(self, role: Role) -> bool {
        self.set & (1 << role as u8) != 0
    }

    /// Whether the process holds tables.
    pub(crate) fn tables(self) -> bool {
        self.has(Role::Recent) || self.has(Role::History)
    }

    /// Their names.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let all = [
            (Role::Journal, "journal"),
            (Role::Engine, "engine"),
            (Role::Recent, "recent"),
            (Role::History, "history"),
            (Role::Gateway, "gateway"),
            (Role::Scheduler, "scheduler"),
            (Role::Executor, "executor"),
        ];
        let of_this = all.into_iter().filter(|(role, _)| self.has(*role));
        of_this.map(|(_, name)| name).collect()
    }

    /// Whether other processes may take part.
    pub(crate) fn apart(self) -> bool {
        self.named
    }

    /// Whether it only hands requests on.
    pub(crate) fn is_gateway_alone(self) -> bool {
        self.set == 1 << Role::Gateway as u8
    }

    /// The role of a process that runs queries for others.
    pub(crate) fn of_cluster(self) -> Option<Role> {
        let cluster = [Role::Scheduler, Role::Executor];
        cluster.into_iter().find(|role| self.has(*role))
    }

    /// What to call such a process where it connects.
    pub(crate) fn name(self, share: &Shard) -> String {
        let mut names = Vec::new();
        for (role, name) in [
            (
                Role::Engine,
                format!("engine-{}-of-{}", share.index, share.count),
            ),
            (Role::Recent, "recent".to_owned()),
            (Role::History, "history".to_owned()),
        ] {
            if self.has(role) {
                names.push(name);
            }
        }
        let host = host_name().unwrap_or_default();
        format!("{}/{host}-{}", names.join("-"), std::process::id())
    }

    /// The addresses that they listen on, the gateway's first.
    pub(crate) fn addresses(self, config: &Config) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let of_role = [
            (Role::Gateway, config.listen),
            (Role::Journal, config.journal.listen),
            (Role::Engine, config.engine.listen),
            (Role::Recent, config.recent.listen),
            (Role::History, config.history.listen),
            (Role::Scheduler, config.scheduler.listen),
            (Role::Executor, config.executor.listen),
        ];
        for (role, address) in of_role {
            if self.has(role) && (self.named || role == Role::Gateway) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Name of the directory of this process's checkpoints: processes that share a data directory
    /// must not meet there, nor what one of other roles left.
    pub(crate) fn checkpoint_dir(self, share: Shard) -> String {
        const USUAL: &str = "checkpoints";
        let (journal, tables) = (self.has(Role::Journal), self.tables());
        if !self.has(Role::Engine) {
            return format!("{USUAL}-journal"); // others without an engine keep none
        }
        if journal && tables && share.count == 1 {
            return USUAL.to_owned();
        }
        // Those of a process with tables name hits, others do not.
        let tables = if tables { "-tables" } else { "" };
        let (index, count) = (share.index, share.count);
        format!("{USUAL}-engine-{index}-of-{count}{tables}")
    }

    /// Checks that the roles can work together.
    ///
    /// # Errors
    /// What to do instead.
    pub(crate) fn check(self, share: Shard) -> Result<(), Failure> {
        if !self.named && share.count > 1 {
            let text = "engine.share names one share of several: name the roles of this process, with --role";
            return Err(Failure::usage(text));
        }
        if self.has(Role::Gateway) && !self.tables() && !self.is_gateway_alone() {
            let text = "the role gateway hands requests on when it is alone, and answers them beside the role recent: \
                        give it a process of its own, or add recent";
            return Err(Failure::usage(text));
        }
        if self.of_cluster().is_some() && !self.set.is_power_of_two() {
            let text = "the roles scheduler and executor each need a process of their own: name no other beside it";
            return Err(Failure::usage(text));
        }
        Ok(())
    }
}

/// Reads `index/count`, or `ordinal/count` with the number at the end of the host's name.
pub(crate) fn parse_share(
    text: &str,
    host_name: impl Fn() -> Option<String>,
) -> Result<Shard, Failure> {
    let refuse = |why: &str| {
        Failure::usage(format!(
            "configuration: engine.share is {text:?}: {why}; write 0/1, or the second of three as 1/3"
        ))
    };
    let (index, count) = text.split_once('/').ok_or_else(|| refuse("no /"))?;
    let count = count
        .parse()
        .ok()
        .filter(|count| (1..=SHARES_MAX).contains(count));
    let count = count.ok_or_else(|| refuse("1 to 1024 shares can be"))?;
    let index = match index {
        "ordinal" => {
            let name = host_name().ok_or_else(|| refuse("this host has no name"))?;
            let digits = name.rsplit(|c: char| !c.is_ascii_digit()).next();
            digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| {
                    refuse(&format!(
                        "the host's name {name:?} does not end in a number"
                    ))
                })?
        }
        index => index
            .parse()
            .map_err(|_| refuse("the first number is none"))?,
    };
    if index >= count {
        return Err(refuse("shares are numbered from 0"));
    }
    Ok(Shard { index, count })
}

/// This host's name.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn without_names_everything_on_one_address() {
        let (config, whole) = (Config::default(), Shard::WHOLE);
        let everything = Roles::named(&[]);
        assert!(everything.has(Role::Engine) && everything.tables() && !everything.apart());
        assert_eq!(everything.addresses(&config), [config.listen]);
        assert_eq!(everything.names().len(), 5);
        let named = Roles::named(&[Role::All]);
        assert_eq!(named.addresses(&config).len(), 5);
        let two = Roles::named(&[Role::Journal, Role::Engine]);
        assert!(!two.tables() && two.apart() && !two.has(Role::Gateway));
        assert_eq!(two.names(), ["journal", "engine"]);
        assert_eq!(
            two.addresses(&config),
            [config.journal.listen, config.engine.listen]
        );
        let dirs = [&[][..], &[Role::Journal], &[Role::Engine], &[Role::All]];
        let dirs = dirs.map(|roles| Roles::named(roles).checkpoint_dir(whole));
        let expected = [
            "checkpoints",
            "checkpoints-journal",
            "checkpoints-engine-0-of-1",
            "checkpoints",
        ];
        assert_eq!(dirs, expected);
        let half = Shard { index: 0, count: 2 };
        let both = Roles::named(&[Role::Journal, Role::Engine]);
        assert_eq!(both.checkpoint_dir(half), "checkpoints-engine-0-of-2");
        assert!(both.check(half).is_ok() && everything.check(half).is_err());
        assert!(Roles::named(&[Role::Gateway]).check(whole).is_ok());
        assert!(
            Roles::named(&[Role::Gateway, Role::Engine])
                .check(whole)
                .is_err()
        );
    }

    #[test]
    fn shares_are_read_or_refused() {
        let host = || Some("tapewatch-engine-2".to_owned());
        let share = |text| parse_share(text, host).map(|share| (share.index, share.count));
        assert_eq!(share("0/1").unwrap(), (0, 1));
        assert_eq!(share("ordinal/3").unwrap(), (2, 3));
        for wrong in ["", "1", "1/1", "ordinal/2", "a/2", "0/0", "0/1025", "-1/2"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert!(parse_share("ordinal/2", || Some("host".to_owned())).is_err());
        assert!(parse_share("ordinal/2", || None).is_err());
    }
}
