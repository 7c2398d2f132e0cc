//! The engine's numbers of owners, and what the reference tables say of owners and instruments.
//!
//! Invariant: an owner is the group that an account or a trader is linked to, or else the account, or
//! else the trader; an account and a trader of the same name are two owners.

use std::ops::Range;
use std::sync::Arc;

use tapewatch_model::Interner;

use crate::detector::NOBODY;
use crate::reference::{Class, News, Reference};

/// The owners, and the tables.
#[derive(Debug)]
pub(crate) struct Owners {
    reference: Arc<Reference>,
    /// By number; the first is that of instruments without a class.
    known: Vec<Class>,
    /// A letter for what it is, then the name.
    texts: Interner,
    /// Client groups by owner.
    groups: Vec<u16>,
    /// By instrument: its class, and where its news is.
    classes: Vec<u16>,
    news: Vec<Range<usize>>,
}

const GROUP: char = '=';
const ACCOUNT: char = '@';
const TRADER: char = '~';

impl Owners {
    pub(crate) fn new(reference: Arc<Reference>) -> Self {
        Self {
            known: known(&reference),
            reference,
            texts: Interner::default(),
            groups: Vec::new(),
            classes: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Takes other tables; owners keep their numbers.
    pub(crate) fn refer(&mut self, reference: Arc<Reference>, syms: &Interner) {
        self.known = known(&reference);
        self.reference = reference;
        self.classes.clear();
        self.news.clear();
        syms.texts().iter().for_each(|sym| self.add_sym(sym));
        let texts = self.texts.texts().iter();
        self.groups = texts.map(|text| group(&self.reference, text)).collect();
    }

    pub(crate) fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    pub(crate) fn texts(&self) -> &Interner {
        &self.texts
    }

    /// The next instrument, in the order of the engine's numbers.
    pub(crate) fn add_sym(&mut self, sym: &str) {
        self.classes.push(self.reference.class_number(sym));
        self.news.push(self.reference.news_of(sym));
    }

    /// The owner of an account; [`NOBODY`] of none.
    pub(crate) fn of_account(&mut self, account: &str) -> u32 {
        self.of(account, ACCOUNT)
    }

    /// The owner of what a trader does; [`NOBODY`] of none.
    pub(crate) fn of_trader(&mut self, trader: &str) -> u32 {
        self.of(trader, TRADER)
    }

    fn of(&mut self, name: &str, kind: char) -> u32 {
        if name.is_empty() {
            return NOBODY;
        }
        let text = match self.reference.linked.get(name) {
            Some(group) => format!("{GROUP}{group}"),
            None => format!("{kind}{name}"),
        };
        let Ok(number) = self.texts.intern(text.as_bytes()) else {
            return NOBODY; // it is UTF-8
        };
        if number as usize == self.groups.len() {
            self.groups.push(group(&self.reference, &text));
        }
        number
    }

    /// Takes saved owners in; `false` when one is there twice.
    pub(crate) fn load(&mut self, texts: &[String]) -> bool {
        for text in texts {
            let _ = self.texts.intern(text.as_bytes());
            self.groups.push(group(&self.reference, text));
        }
        self.texts.len() == texts.len()
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        let text = self.texts.get(number);
        text.and_then(|text| text.get(1..))
            .unwrap_or("someone unnamed")
    }

    /// Whether an owner is a group that accounts or traders are linked to.
    pub(crate) fn is_group(&self, number: u32) -> bool {
        let text = self.texts.get(number);
        text.is_some_and(|text| text.starts_with(GROUP))
    }

    #[inline]
    pub(crate) fn class_and_group(&self, sym: u32, owner: u32) -> (u16, u16) {
        let class = self.classes.get(sym as usize).copied();
        let group = self.groups.get(owner as usize).copied();
        (class.unwrap_or_default(), group.unwrap_or_default())
    }

    /// The news of an instrument, in order of time.
    pub(crate) fn news(&self, sym: u32) -> &[News] {
        let range = self.news.get(sym as usize).cloned().unwrap_or_default();
        self.reference.news.get(range).unwrap_or_default()
    }

    pub(crate) fn class(&self, number: u16) -> Option<&Class> {
        self.known.get(usize::from(number))
    }
}

fn group(reference: &Reference, text: &str) -> u16 {
    reference.group_number(text.get(1..).unwrap_or_default())
}

fn known(reference: &Reference) -> Vec<Class> {
    let classes = reference.classes.values().cloned();
    std::iter::once(Class::default()).chain(classes).collect()
}
