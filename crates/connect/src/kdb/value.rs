//! The values of q, as far as messages and logs carry them.
//!
//! Invariant: a table's columns are as many as its names and all of one length; a dictionary has as
//! many keys as values; a symbol holds no NUL, because the wire ends it there.

mod symbol;

pub use self::symbol::{Symbol, Symbols};

/// How an absent number is written, and the two ends of its range. A float's are NaN and infinite.
pub const NULL_LONG: i64 = i64::MIN;
/// Beyond every number of 64 bits, and of a time or a span of time.
pub const INFINITE_LONG: i64 = i64::MAX;
/// Below every number of 64 bits.
pub const MINUS_INFINITE_LONG: i64 = i64::MIN + 1;

/// What a list promises of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attr {
    /// Nothing.
    #[default]
    None,
    /// `` `s# ``: ascending.
    Sorted,
    /// `` `u# ``: no two the same.
    Unique,
    /// `` `p# ``: the same stand together.
    Parted,
    /// `` `g# ``: with an index.
    Grouped,
}

/// What has items that can be copied out.
trait Indexed {
    type Item;
    fn item(&self, index: usize) -> Option<Self::Item>;
}

impl<T: Copy> Indexed for Vec<T> {
    type Item = T;
    fn item(&self, index: usize) -> Option<T> {
        self.get(index).copied()
    }
}

impl Indexed for Symbols {
    type Item = Symbol;
    fn item(&self, index: usize) -> Option<Symbol> {
        self.get(index).map(Symbol::new)
    }
}

/// The name of a type, its code on the wire and what an item is.
macro_rules! types {
    ($($(#[$doc:meta])+ $name:ident($item:ty, $items:ty) = $code:literal,)+) => {
        /// A single value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Atom {
            $($(#[$doc])+ $name($item),)+
        }

        /// The items of a list.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Items {
            /// Of any kinds.
            Mixed(Vec<Value>),
            $($(#[$doc])+ $name($items),)+
        }

        impl Atom {
            /// The code of its type in a list; negative on the wire.
            #[must_use]
            pub const fn code(&self) -> i8 {
                match self {
                    $(Self::$name(_) => $code,)+
                }
            }
        }

        impl Items {
            /// The code of the type on the wire.
            #[must_use]
            pub const fn code(&self) -> i8 {
                match self {
                    Self::Mixed(_) => 0,
                    $(Self::$name(_) => $code,)+
                }
            }

            /// How many.
            #[must_use]
            pub fn len(&self) -> usize {
                match self {
                    Self::Mixed(items) => items.len(),
                    $(Self::$name(items) => items.len(),)+
                }
            }

            /// The one at `index`.
            #[must_use]
            pub fn get(&self, index: usize) -> Option<Value> {
                match self {
                    Self::Mixed(items) => items.get(index).cloned(),
                    $(Self::$name(items) => items.item(index).map(Atom::$name).map(Value::Atom),)+
                }
            }
        }
    };
}

types! {
    /// Yes or no.
    Bool(bool, Vec<bool>) = 1,
    /// 16 bytes.
    Guid([u8; 16], Vec<[u8; 16]>) = 2,
    /// A byte.
    Byte(u8, Vec<u8>) = 4,
    /// 16 bits.
    Short(i16, Vec<i16>) = 5,
    /// 32 bits.
    Int(i32, Vec<i32>) = 6,
    /// 64 bits.
    Long(i64, Vec<i64>) = 7,
    /// A float of 32 bits.
    Real(f32, Vec<f32>) = 8,
    /// A float of 64 bits.
    Float(f64, Vec<f64>) = 9,
    /// A byte of text; a list of them is a string.
    Char(u8, Vec<u8>) = 10,
    /// A symbol.
    Symbol(Symbol, Symbols) = 11,
    /// Nanoseconds since 2000-01-01T00:00:00.
    Timestamp(i64, Vec<i64>) = 12,
    /// Months since 2000-01.
    Month(i32, Vec<i32>) = 13,
    /// Days since 2000-01-01.
    Date(i32, Vec<i32>) = 14,
    /// Days and parts of a day since 2000-01-01.
    Datetime(f64, Vec<f64>) = 15,
    /// Nanoseconds.
    Timespan(i64, Vec<i64>) = 16,
    /// Minutes.
    Minute(i32, Vec<i32>) = 17,
    /// Seconds.
    Second(i32, Vec<i32>) = 18,
    /// Milliseconds of the day.
    Time(i32, Vec<i32>) = 19,
}

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// What it promises.
    pub attr: Attr,
    /// What is in it.
    pub items: Items,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    attr: Attr,
    names: Symbols,
    columns: Vec<List>,
}

/// A dictionary; a keyed table is one of two tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Dict {
    sorted: bool,
    keys: Value,
    values: Value,
}

/// Any value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value.
    Atom(Atom),
    /// A list.
    List(List),
    /// A table.
    Table(Box<Table>),
    /// A dictionary or a keyed table.
    Dict(Box<Dict>),
    /// A function as its text, which nothing here ever runs.
    Lambda {
        /// The context it belongs to.
        context: Symbol,
        /// Its text.
        text: Vec<u8>,
    },
    /// A function of q itself, by its number; the first unary one is `::`.
    Primitive(Arity, u8),
    /// An error, as an answer says it.
    Error(Symbol),
}

/// How many arguments a function of q itself takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One.
    Unary = 101,
    /// Two.
    Binary = 102,
    /// Three.
    Ternary = 103,
}

/// Parts that do not make a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A table of columns of several lengths.
    #[error("column {name} has {len} rows, the first has {first}")]
    Lengths {
        /// The column.
        name: String,
        /// Its rows.
        len: usize,
        /// Those of the first.
        first: usize,
    },
    /// More or fewer names or keys than columns or values.
    #[error("{left} names or keys for {right} columns or values")]
    Pairs {
        /// Names or keys.
        left: usize,
        /// Columns or values.
        right: usize,
    },
}

impl Attr {
    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// That of a number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Sorted,
            2 => Self::Unique,
            3 => Self::Parted,
            4 => Self::Grouped,
            _ => return None,
        })
    }
}

impl Items {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Items> for List {
    fn from(items: Items) -> Self {
        Self {
            attr: Attr::None,
            items,
        }
    }
}

impl Table {
    /// A table of columns and their names.
    ///
    /// # Errors
    /// [`ValueError`] when there are not as many names as columns, or their lengths differ.
    pub fn new(names: Symbols, columns: Vec<List>) -> Result<Self, ValueError> {
        if names.len() != columns.len() {
            return Err(ValueError::Pairs {
                left: names.len(),
                right: columns.len(),
            });
        }
        let first = columns.first().map_or(0, |column| column.items.len());
        for (name, column) in names.iter().zip(&columns) {
            if column.items.len() != first {
                return Err(ValueError::Lengths {
                    name: String::from_utf8_lossy(name).into_owned(),
                    len: column.items.len(),
                    first,
                });
            }
        }
        Ok(Self {
            attr: Attr::None,
            names,
            columns,
        })
    }

    /// The same with a promise.
    #[must_use]
    pub fn with_attr(self, attr: Attr) -> Self {
        Self { attr, ..self }
    }

    /// What it promises.
    #[must_use]
    pub const fn attr(&self) -> Attr {
        self.attr
    }

    /// Names of its columns.
    #[must_use]
    pub const fn names(&self) -> &Symbols {
        &self.names
    }

    /// Its columns.
    #[must_use]
    pub fn columns(&self) -> &[List] {
        &self.columns
    }

    /// The columns without their names.
    #[must_use]
    pub fn into_columns(self) -> Vec<List> {
        self.columns
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.items.len())
    }
}

impl Dict {
    /// A dictionary.
    ///
    /// # Errors
    /// [`ValueError`] when there are not as many keys as values.
    pub fn new(sorted: bool, keys: Value, values: Value) -> Result<Self, ValueError> {
        let (left, right) = (keys.count(), values.count());
        if left != right {
            return Err(ValueError::Pairs { left, right });
        }
        Ok(Self {
            sorted,
            keys,
            values,
        })
    }

    /// Whether its keys are ascending.
    #[must_use]
    pub const fn is_sorted(&self) -> bool {
        self.sorted
    }

    /// Its keys.
    #[must_use]
    pub const fn keys(&self) -> &Value {
        &self.keys
    }

    /// Its values.
    #[must_use]
    pub const fn values(&self) -> &Value {
        &self.values
    }
}

impl Value {
    /// q's `::`, which also stands for no argument.
    pub const NOTHING: Self = Self::Primitive(Arity::Unary, 0);

    /// A list of any values.
    #[must_use]
    pub fn mixed(values: Vec<Self>) -> Self {
        Self::List(Items::Mixed(values).into())
    }

    /// A symbol.
    #[must_use]
    pub fn symbol(text: impl AsRef<[u8]>) -> Self {
        Self::Atom(Atom::Symbol(Symbol::new(text)))
    }

    /// A text as a list of characters.
    #[must_use]
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::List(Items::Char(text.as_ref().to_vec()).into())
    }

    /// An error as an answer says it.
    #[must_use]
    pub fn error(text: impl AsRef<[u8]>) -> Self {
        Self::Error(Symbol::new(text))
    }

    /// What q's `count` says: items of a list, rows of a table, pairs of a dictionary, else 1.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::List(list) => list.items.len(),
            Self::Table(table) => table.rows(),
            Self::Dict(dict) => dict.keys.count(),
            _ => 1,
        }
    }
}
