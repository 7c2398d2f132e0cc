//! What is looked at before a query is planned: whether it is one, and whether it is of a size that the
//! parser and the planner can take.
//!
//! Invariant: what passes needs no more stack than a thread has, whatever it says: chains of operators,
//! joins and nested queries are limited, and parentheses by the parser.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ObjectName, Query, Statement as SqlStatement, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{SqlError, place_of};
use super::sources::sql_of;

/// Longest query.
const BYTES_MAX: usize = 4 << 20;
/// Operators in a row: each makes an expression one deeper.
const OPERATORS_MAX: usize = 200;
/// Joins, set operations and queries within a query: each makes a plan deeper.
const PARTS_MAX: usize = 100;
/// Tables that a name of a query stands for when each `WITH` stands for its text.
const TABLES_MAX: u64 = 10_000;

/// Refuses a text that is too much for those who read it next.
pub(super) fn check_text(query: &str) -> Result<(), SqlError> {
    if query.len() > BYTES_MAX {
        return Err(SqlError::Syntax {
            message: format!(
                "a query has at most {BYTES_MAX} bytes, this one has {}",
                query.len()
            ),
            place: None,
        });
    }
    // What is no token is the parser's to say.
    let tokens = Tokenizer::new(&GenericDialect, query).tokenize_with_location();
    let mut chain = Chain::default();
    for token in tokens.unwrap_or_default() {
        if let Err(message) = chain.take(&token.token) {
            let start = token.span.start;
            let place = place_of(query, start.line, start.column);
            return Err(SqlError::Syntax { message, place });
        }
    }
    Ok(())
}

/// How deep the expressions of a list or of a query are, as far as they have been read.
#[derive(Default)]
struct Level {
    /// AND and OR since the last comma or clause.
    logic: usize,
    /// Other operators since the last of those, and the most of them; what is in parentheses counts
    /// with its depth.
    term: usize,
    deepest_term: usize,
    /// The deepest before the last comma or clause.
    before: usize,
}

impl Level {
    fn operator(&mut self, depth: usize) {
        self.term += depth;
        self.deepest_term = self.deepest_term.max(self.term);
    }

    fn logic(&mut self) {
        self.logic += 1;
        self.term = 0;
    }

    fn part(&mut self) {
        self.before = self.depth();
        (self.logic, self.term, self.deepest_term) = (0, 0, 0);
    }

    fn depth(&self) -> usize {
        self.before.max(self.logic + self.deepest_term)
    }
}

/// The text so far.
#[derive(Default)]
struct Chain {
    around: Vec<Level>,
    level: Level,
    parts: usize,
}

impl Chain {
    fn take(&mut self, token: &Token) -> Result<(), String> {
        match token {
            Token::LParen | Token::LBracket => self.around.push(std::mem::take(&mut self.level)),
            Token::RParen | Token::RBracket => {
                // Parentheses are the parser's to count; an index is an operator.
                let index = usize::from(matches!(token, Token::RBracket));
                let depth = self.level.depth() + index;
                self.level = self.around.pop().unwrap_or_default();
                self.level.operator(depth);
            }
            Token::Comma | Token::SemiColon => self.level.part(),
            Token::Word(word) => self.word(word.keyword),
            Token::Whitespace(_) | Token::Period | Token::Number(..) | Token::Placeholder(_) => {}
            Token::SingleQuotedString(_) | Token::DollarQuotedString(_) => {}
            _ => self.level.operator(1),
        }
        if self.level.depth() > OPERATORS_MAX {
            return Err(format!(
                "more than {OPERATORS_MAX} operators in a row; write x IN (...), or join with VALUES"
            ));
        }
        if self.parts > PARTS_MAX {
            return Err(format!(
                "more than {PARTS_MAX} joins, set operations and queries within the query"
            ));
        }
        Ok(())
    }

    fn word(&mut self, keyword: Keyword) {
        use Keyword::{
            AND, BY, ELSE, END, EXCEPT, FROM, GROUP, HAVING, INTERSECT, JOIN, LIMIT, MINUS, ON, OR,
            ORDER, SELECT, THEN, UNION, VALUES, WHEN, WHERE,
        };
        match keyword {
            Keyword::NoKeyword => {}
            AND | OR => self.level.logic(),
            SELECT | JOIN | UNION | EXCEPT | INTERSECT | MINUS => {
                self.level.part();
                self.parts += 1;
            }
            BY | ELSE | END | FROM | GROUP | HAVING | LIMIT | ON | ORDER | THEN | VALUES | WHEN
            | WHERE => self.level.part(),
            // Other words of the language are operators, or few.
            _ => self.level.operator(1),
        }
    }
}

/// Refuses what is not a query, and what becomes too large when it is planned.
pub(super) fn check(statement: &Statement) -> Result<(), SqlError> {
    check_kind(statement)?;
    let mut names = Names::default();
    if let Some(statement) = sql_of(statement) {
        let _ = statement.visit(&mut names);
    }
    let read = names.named.iter().map(|name| names.with.tables(name));
    if read.max() > Some(TABLES_MAX) {
        return Err(SqlError::Plan {
            message: format!(
                "a name stands for more than {TABLES_MAX} tables when each WITH stands for its text"
            ),
            place: None,
        });
    }
    Ok(())
}

/// The tables that a statement names, and what each of its `WITH` names.
#[derive(Default)]
struct Names {
    named: Vec<String>,
    with: With,
}

/// What each `WITH` names, then how many tables that is.
#[derive(Default)]
struct With(HashMap<String, (Vec<String>, Cell<Option<u64>>)>);

impl With {
    /// How many tables are read by who names this one.
    fn tables(&self, name: &str) -> u64 {
        let Some((names, known)) = self.0.get(name) else {
            return 1;
        };
        if let Some(known) = known.get() {
            return known;
        }
        // One that names itself reads what it made.
        known.set(Some(1));
        let below = names.iter().map(|name| self.tables(name));
        let tables = below.fold(1, u64::saturating_add);
        known.set(Some(tables));
        tables
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let mut inner = Relations::default();
            let _ = cte.query.visit(&mut inner);
            let name = cte.alias.name.value.clone();
            self.with.0.entry(name).or_default().0.extend(inner.0);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.named.extend(bare(relation));
        ControlFlow::Continue(())
    }
}

/// The tables that are named anywhere in a query.
#[derive(Default)]
struct Relations(Vec<String>);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.0.extend(bare(relation));
        ControlFlow::Continue(())
    }
}

/// The name without a schema.
fn bare(relation: &ObjectName) -> Option<String> {
    let last = relation.0.last()?.as_ident()?;
    Some(last.value.clone())
}

/// Refuses what is not a query.
fn check_kind(statement: &Statement) -> Result<(), SqlError> {
    let refused = match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. }
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. } => return Ok(()),
            other => other.to_string(),
        },
        Statement::Explain(explain) => return check_kind(&explain.statement),
        Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_owned(),
        Statement::CopyTo(_) => "COPY".to_owned(),
        Statement::Reset(_) => "RESET".to_owned(),
    };
    let word: String = refused
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    Err(SqlError::ReadOnly {
        message: format!("{word} is not a query"),
    })
}
