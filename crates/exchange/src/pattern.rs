//! What can be played in the simulated market on purpose: kinds of abuse, and honest behaviour that
//! looks like them.
//!
//! Invariant: the name of an abuse is the id of the detector that is to find it.

use std::fmt;

/// Kinds with their names.
macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident { $($(#[$each:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $($(#[$each])* $variant,)+ }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in plans and labels.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    /// An abuse.
    Abuse {
        /// Large orders that are cancelled, over and over.
        Spoofing = "spoofing",
        /// A large order against a small one on the other side, gone when the small one trades.
        BaitAndSwitch = "bait_and_switch",
        /// The same with orders at several prices.
        Layering = "layering",
        /// So many messages that others are slowed down.
        QuoteStuffing = "quote_stuffing",
        /// Many orders and hardly a trade.
        OrderToTrade = "order_to_trade",
        /// Orders that live a few milliseconds.
        FleetingOrders = "fleeting_orders",
        /// Small orders that feel for a large one.
        Pinging = "pinging",
        /// Buying from oneself.
        WashTrade = "wash_trade",
        /// Buying and selling back to the same one.
        RoundTrip = "round_trip",
        /// Trades that were agreed upon.
        MatchedOrders = "matched_orders",
        /// Pushing the closing price.
        MarkingTheClose = "marking_the_close",
        /// A burst that others follow, and a way out through them.
        MomentumIgnition = "momentum_ignition",
        /// Trades that each lift or lower the price.
        Ramping = "ramping",
        /// Trading ahead of a client.
        FrontRunning = "front_running",
        /// A price or a size that cannot be meant.
        OffMarket = "off_market",
        /// Trading on news that is not out.
        BeforeNews = "before_news",
    }
}

kinds! {
    /// Honest behaviour that looks like abuse.
    NearMiss {
        /// A market maker takes his quotes away when the price jumps.
        QuotePull = "quote_pull",
        /// An iceberg shows its next part.
        IcebergRefill = "iceberg_refill",
        /// Orders taken away when trading halts.
        HaltCancel = "halt_cancel",
        /// Orders taken away just before the session ends.
        CloseCancel = "close_cancel",
        /// Many traders buy or sell at the close because an index changes.
        IndexRebalance = "index_rebalance",
        /// A large order worked in slices, none of them cancelled.
        SlicedParent = "sliced_parent",
        /// Two funds of a manager trade with each other and say so.
        DeclaredCross = "declared_cross",
        /// Falling prices set off the stop orders of many traders.
        StopCascade = "stop_cascade",
        /// One of two orders goes when the other trades.
        Arbitrage = "arbitrage",
        /// What a client sold is sold on at once.
        Hedger = "hedger",
        /// Orders taken away because of bad news.
        BadNewsCancel = "bad_news_cancel",
    }
}

impl NearMiss {
    /// The abuse that it looks like most.
    #[must_use]
    pub const fn resembles(self) -> Abuse {
        match self {
            Self::QuotePull | Self::IcebergRefill | Self::BadNewsCancel => Abuse::Layering,
            Self::HaltCancel | Self::CloseCancel => Abuse::Spoofing,
            Self::IndexRebalance => Abuse::MarkingTheClose,
            Self::SlicedParent => Abuse::Ramping,
            Self::DeclaredCross => Abuse::WashTrade,
            Self::StopCascade => Abuse::MomentumIgnition,
            Self::Arbitrage => Abuse::BaitAndSwitch,
            Self::Hedger => Abuse::FrontRunning,
        }
    }
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// An abuse.
    Abuse(Abuse),
    /// Honest behaviour that looks like one.
    NearMiss(NearMiss),
}

impl Pattern {
    /// How many there are.
    pub(crate) const COUNT: usize = Abuse::ALL.len() + NearMiss::ALL.len();

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        let abuses = Abuse::ALL.iter().map(|abuse| Self::Abuse(*abuse));
        abuses.chain(NearMiss::ALL.iter().map(|miss| Self::NearMiss(*miss)))
    }

    /// Its number, below [`Pattern::COUNT`].
    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Abuse(abuse) => abuse as usize,
            Self::NearMiss(miss) => Abuse::ALL.len() + miss as usize,
        }
    }

    /// The detector that is to find it, or to stay quiet.
    #[must_use]
    pub const fn kind(self) -> Abuse {
        match self {
            Self::Abuse(abuse) => abuse,
            Self::NearMiss(miss) => miss.resembles(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abuse(abuse) => f.write_str(abuse.name()),
            Self::NearMiss(miss) => write!(f, "near:{}", miss.name()),
        }
    }
}
