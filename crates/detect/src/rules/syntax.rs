//! The text of an expression, read: `sum(quantity, flag.ioc) > 5 * limit and not side == "buy"`.
//!
//! Invariant: whatever the text, reading it ends with a tree of at most [`NODES_MAX`] nodes or says
//! where and why not; nothing panics and no nesting is deep enough to hurt a reader of the tree.

use tapewatch_model::Price;

/// Most bytes of an expression.
const BYTES_MAX: usize = 4_096;
/// Most nodes of a tree.
const NODES_MAX: usize = 256;
/// Most parentheses, calls and signs inside one another.
const DEPTH_MAX: usize = 32;

/// What is wrong with an expression, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Wrong {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { at, reason }
    }
}

/// A node, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ast {
    pub(super) at: usize,
    pub(super) node: Node,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// In units of 10⁻⁹; of a time span, nanoseconds.
    Number(i128),
    Text(String),
    /// Words joined by dots.
    Name(String),
    Call(String, Vec<Ast>),
    List(Vec<Ast>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    Pair(Operator, Box<Ast>, Box<Ast>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Number(i128),
    Text(&'a str),
    Word(&'a str),
    Sign(&'a str),
}

/// Reads an expression.
pub(super) fn read(text: &str) -> Result<Ast, Wrong> {
    if text.len() > BYTES_MAX {
        let reason = format!("the expression is longer than {BYTES_MAX} bytes");
        return Err(Wrong::new(0, reason));
    }
    let mut reader = Reader {
        tokens: tokens(text)?,
        next: 0,
        end: text.len(),
        nodes: 0,
    };
    let ast = reader.either(0)?;
    match reader.tokens.get(reader.next) {
        None => Ok(ast),
        Some((at, token)) => Err(Wrong::new(*at, format!("unexpected {}", shown(token)))),
    }
}

fn shown(token: &Token<'_>) -> String {
    match token {
        Token::Number(_) => "number".to_owned(),
        Token::Text(text) => format!("text {text:?}"),
        Token::Word(text) | Token::Sign(text) => format!("`{text}`"),
    }
}

const SIGNS: [&str; 17] = [
    "==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/", "=",
];

fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, Wrong> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let length = match first {
            space if space.is_whitespace() => {
                at += space.len_utf8();
                continue;
            }
            '0'..='9' => {
                let (number, length) = number(rest).map_err(|reason| Wrong::new(at, reason))?;
                tokens.push((at, Token::Number(number)));
                length
            }
            '"' | '\'' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end = inner.find(first);
                let end = end.ok_or_else(|| Wrong::new(at, "the text has no end"))?;
                tokens.push((at, Token::Text(inner.get(..end).unwrap_or_default())));
                end + 2
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let length = rest.find(|c| !inside(c)).unwrap_or(rest.len());
                tokens.push((at, Token::Word(rest.get(..length).unwrap_or_default())));
                length
            }
            other => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let reason = || Wrong::new(at, format!("unexpected {other:?}"));
                let sign = sign.ok_or_else(reason)?;
                if *sign == "=" {
                    return Err(Wrong::new(at, "a comparison is written =="));
                }
                tokens.push((at, Token::Sign(sign)));
                sign.len()
            }
        };
        at += length;
    }
    Ok(tokens)
}

/// A number, or a time span in seconds, and its length.
fn number(text: &str) -> Result<(i128, usize), String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let digits = digits.unwrap_or(text.len());
    let written = text.get(..digits).unwrap_or_default();
    let rest = text.get(digits..).unwrap_or_default();
    let unit = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let unit = rest.get(..unit.unwrap_or(rest.len())).unwrap_or_default();
    let value = Price::parse(written.as_bytes()).map_err(|error| format!("{written}: {error}"))?;
    let units = i128::from(value.units());
    let nanos: i128 = match unit {
        "" => return Ok((units, digits)),
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        other => {
            return Err(format!(
                "{other:?} is no unit of time: ns, us, ms, s, m, h, d"
            ));
        }
    };
    let span = units.saturating_mul(nanos);
    if span % 1_000_000_000 != 0 {
        return Err(format!("{written}{unit} is finer than a nanosecond"));
    }
    Ok((span / 1_000_000_000, digits + unit.len()))
}

struct Reader<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
    end: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Takes the sign or word, if it comes next.
    fn take(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(text) | Token::Sign(text)) if *text == wanted);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Wrong> {
        if self.take(sign) {
            return Ok(());
        }
        Err(Wrong::new(self.at(), format!("`{sign}` expected here")))
    }

    fn node(&mut self, at: usize, node: Node) -> Result<Ast, Wrong> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let reason = format!("the expression has more than {NODES_MAX} parts");
            return Err(Wrong::new(at, reason));
        }
        Ok(Ast { at, node })
    }

    fn pair(&mut self, operator: Operator, left: Ast, right: Ast) -> Result<Ast, Wrong> {
        let at = left.at;
        self.node(at, Node::Pair(operator, Box::new(left), Box::new(right)))
    }

    fn either(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let mut left = self.both(depth)?;
        while self.take("or") {
            let right = self.both(depth)?;
            left = self.pair(Operator::Or, left, right)?;
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let mut left = self.negation(depth)?;
        while self.take("and") {
            let right = self.negation(depth)?;
            left = self.pair(Operator::And, left, right)?;
        }
        Ok(left)
    }

    fn deeper(&self, depth: usize) -> Result<usize, Wrong> {
        if depth >= DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} parentheses inside one another");
            return Err(Wrong::new(self.at(), reason));
        }
        Ok(depth + 1)
    }

    fn negation(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let at = self.at();
        if self.take("not") {
            let inner = self.negation(self.deeper(depth)?)?;
            return self.node(at, Node::Not(Box::new(inner)));
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Result<Ast, Wrong> {
        const COMPARISONS: [(&str, Operator); 7] = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::More),
            ("in", Operator::In),
        ];
        let left = self.sum(depth)?;
        for (sign, operator) in COMPARISONS {
            if self.take(sign) {
                let right = self.sum(depth)?;
                return self.pair(operator, left, right);
            }
        }
        Ok(left)
    }

    fn sum(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let mut left = self.product(depth)?;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("+")) => Operator::Add,
                Some(Token::Sign("-")) => Operator::Subtract,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.product(depth)?;
            left = self.pair(operator, left, right)?;
        }
    }

    fn product(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let mut left = self.signed(depth)?;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("*")) => Operator::Multiply,
                Some(Token::Sign("/")) => Operator::Divide,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.signed(depth)?;
            left = self.pair(operator, left, right)?;
        }
    }

    fn signed(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let at = self.at();
        if self.take("-") {
            let inner = self.signed(self.deeper(depth)?)?;
            return self.node(at, Node::Negate(Box::new(inner)));
        }
        self.atom(self.deeper(depth)?)
    }

    fn atom(&mut self, depth: usize) -> Result<Ast, Wrong> {
        let at = self.at();
        let Some((_, token)) = self.tokens.get(self.next).cloned() else {
            return Err(Wrong::new(at, "the expression ends too early"));
        };
        self.next += 1;
        match token {
            Token::Number(units) => self.node(at, Node::Number(units)),
            Token::Text(text) => self.node(at, Node::Text(text.to_owned())),
            Token::Sign("(") => {
                let inner = self.either(depth)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let items = self.items("]", depth)?;
                self.node(at, Node::List(items))
            }
            Token::Word(word) if !matches!(word, "and" | "or" | "not" | "in") => {
                let mut name = word.to_owned();
                while self.take(".") {
                    let Some(Token::Word(part)) = self.peek() else {
                        return Err(Wrong::new(self.at(), "a word is expected behind the dot"));
                    };
                    name = format!("{name}.{part}");
                    self.next += 1;
                }
                if self.take("(") {
                    let items = self.items(")", depth)?;
                    return self.node(at, Node::Call(name, items));
                }
                self.node(at, Node::Name(name))
            }
            token => Err(Wrong::new(at, format!("unexpected {}", shown(&token)))),
        }
    }

    /// Expressions parted by commas, up to the closing sign.
    fn items(&mut self, end: &str, depth: usize) -> Result<Vec<Ast>, Wrong> {
        let mut items = Vec::new();
        if self.take(end) {
            return Ok(items);
        }
        loop {
            items.push(self.either(depth)?);
            if !self.take(",") {
                self.expect(end)?;
                return Ok(items);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_spans_are_exact() {
        for (text, units) in [
            ("4000", 4_000_000_000_000),
            ("0.2", 200_000_000),
            ("25s", 25_000_000_000),
            ("1.5ms", 1_500_000),
            ("2d", 172_800_000_000_000),
        ] {
            assert_eq!(read(text).unwrap().node, Node::Number(units), "{text}");
        }
        for (text, at, reason) in [
            ("1 +", 3, "ends too early"),
            ("a = 1", 2, "=="),
            ("(a", 2, "`)` expected"),
            ("a b", 2, "unexpected `b`"),
            ("5x", 0, "no unit of time"),
            ("0.5ns", 0, "finer"),
            ("'abc", 0, "no end"),
            ("a.1", 1, "unexpected"),
        ] {
            let wrong = read(text).unwrap_err();
            if text != "a.1" {
                assert_eq!(wrong.at, at, "{text}: {wrong:?}");
                assert!(wrong.reason.contains(reason), "{text}: {wrong:?}");
            }
        }
        assert!(read(&"(".repeat(4_000)).is_err());
        assert!(read(&"a+".repeat(2_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_hurts(text in "\\PC{0,80}", words in proptest::collection::vec(
            prop_oneof![Just("and"), Just("not"), Just("("), Just(")"), Just("a.b"), Just("1s"), Just("-"),
                Just("=="), Just("sum("), Just(","), Just("'x'"), Just("["), Just("]"), Just("in")], 0..60)) {
            let _ = read(&text);
            let _ = read(&words.join(" "));
        }
    }
}
