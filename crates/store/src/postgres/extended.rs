//! The extended protocol: statements are prepared, bound to values, described and executed.
//!
//! Invariant: what is described is what comes; a client that binds the wrong values is told by their
//! number.

use std::sync::Arc;

use pgwire::api::Type;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete};
use tokio::io::{AsyncRead, AsyncWrite};

use super::command::Command;
use super::errors::Failure;
use super::frame::{Bind, Message, Target};
use super::rows::{self, Formats};
use super::session::{Halt, Session};
use super::statement::{PORTALS_MAX, Portal, Progress, STATEMENTS_MAX, Statement, texts};
use super::values;
use crate::query::{Description, Door, Parameter};

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Halt> {
        match message {
            Message::Parse { name, text, types } => self.parse(name, &text, types),
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(Target::Statement, name) => {
                let statement = self.statement(&name)?;
                self.describe_statement(&statement).await
            }
            Message::Describe(Target::Portal, name) => {
                let mut portal = self.take_portal(&name)?;
                self.describe_portal(&mut portal, true).await?;
                self.portals.insert(name, portal);
                Ok(())
            }
            Message::Execute { portal: name, rows } => {
                let mut portal = self.take_portal(&name)?;
                self.perform(&mut portal, rows).await?;
                // A cursor of that name may have been declared or closed by it.
                self.portals.entry(name).or_insert(portal);
                Ok(())
            }
            Message::Close(target, name) => {
                match target {
                    Target::Statement => drop(self.statements.remove(&name)),
                    Target::Portal => drop(self.portals.remove(&name)),
                }
                Ok(self.out.message(&CloseComplete::new())?)
            }
            Message::Flush => Ok(self.out.flush().await?),
            // Data for a COPY that failed, and answers to no question, are left out.
            _ => Ok(()),
        }
    }

    fn statement(&self, name: &str) -> Result<Arc<Statement>, Failure> {
        let statement = self.statements.get(name).cloned();
        statement.ok_or_else(|| {
            Failure::new("26000", format!("there is no prepared statement {name:?}"))
        })
    }

    pub(super) fn take_portal(&mut self, name: &str) -> Result<Portal, Failure> {
        let portal = self.portals.remove(name);
        portal.ok_or_else(|| Failure::new("34000", format!("there is no cursor {name:?}")))
    }

    fn parse(&mut self, name: String, text: &str, types: Vec<u32>) -> Result<(), Halt> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let text = format!("there is a prepared statement {name:?} already");
            return Err(Failure::new("42P05", text).into());
        }
        if self.statements.len() >= STATEMENTS_MAX && !self.statements.contains_key(&name) {
            let text = format!("a session has at most {STATEMENTS_MAX} prepared statements");
            return Err(Failure::new("54000", text).into());
        }
        let statement = Statement::one(text, types)?;
        self.statements.insert(name, Arc::new(statement));
        Ok(self.out.message(&ParseComplete::new())?)
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Halt> {
        let statement = self.statement(&bind.statement)?;
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            let text = format!("there is a cursor {:?} already", bind.portal);
            return Err(Failure::new("42P03", text).into());
        }
        self.has_place(&bind.portal)?;
        let wrong = |text: String| Failure::new("08P01", text);
        let count = bind.values.len();
        if bind.formats.len() > 1 && bind.formats.len() != count {
            let text = format!("{} formats came for {count} values", bind.formats.len());
            return Err(wrong(text).into());
        }
        let formats = Formats::new(&bind.formats).map_err(wrong)?;
        let results = Formats::new(&bind.results).map_err(wrong)?;
        let said = |index: usize| statement.types.get(index).copied().unwrap_or(0);
        // In binary a value is what the client was told that it is to be.
        let told = match (0..count).any(|index| said(index) == 0 && formats.is_binary(index)) {
            true => statement.parameters(&*self.description(&statement).await?),
            false => Vec::new(),
        };
        let mut values: Vec<Parameter> = Vec::with_capacity(count);
        for (index, value) in bind.values.iter().enumerate() {
            let binary = formats.is_binary(index);
            let kind = match said(index) {
                0 if !binary && statement.wants_list(index) => Type::TEXT_ARRAY.oid(),
                0 if binary => told.get(index).copied().unwrap_or(0),
                kind => kind,
            };
            let value = values::parameter(kind, binary, value.as_ref());
            values.push(value.map_err(|why| {
                Failure::new("22P02", format!("parameter ${}: {why}", index + 1))
            })?);
        }
        let portal = Portal {
            statement,
            values,
            formats: results,
            progress: Progress::Before,
            kept: false,
        };
        self.portals.insert(bind.portal, portal);
        Ok(self.out.message(&BindComplete::new())?)
    }

    /// Whether another portal of that name may be opened.
    pub(super) fn has_place(&self, name: &str) -> Result<(), Failure> {
        if self.portals.len() >= PORTALS_MAX && !self.portals.contains_key(name) {
            let text = format!("a session has at most {PORTALS_MAX} open cursors");
            return Err(Failure::new("54000", text));
        }
        Ok(())
    }

    /// What a statement takes and gives.
    async fn description(&mut self, statement: &Statement) -> Result<Arc<Description>, Halt> {
        if let Some(known) = statement.description.get() {
            return Ok(Arc::clone(known));
        }
        let store = self.store.clone();
        let described = self.beside(store.describe(Door::Postgres, statement.query(), &[]));
        let described = described
            .await?
            .map_err(|error| statement.failure(&error))?;
        Ok(Arc::clone(
            statement.description.get_or_init(|| Arc::new(described)),
        ))
    }

    async fn describe_statement(&mut self, statement: &Statement) -> Result<(), Halt> {
        let described = match statement.has_query() {
            true => Some(self.description(statement).await?),
            false => None,
        };
        let parameters = described
            .as_ref()
            .map(|described| statement.parameters(described));
        self.out
            .message(&ParameterDescription::new(parameters.unwrap_or_default()))?;
        let schema = match (statement.command(), described) {
            (Some(Command::Query), Some(described)) => Some(Arc::clone(&described.schema)),
            (Some(command), _) => self.columns(command),
            (None, _) => None,
        };
        match schema {
            Some(schema) => {
                let description = rows::description(&schema, &Formats::default());
                self.out.message(&description)?;
            }
            None => self.out.message(&NoData::new())?,
        }
        Ok(())
    }

    /// The columns of what is answered here.
    pub(super) fn columns(&self, command: &Command) -> Option<arrow::datatypes::SchemaRef> {
        match command {
            Command::Show(name) => Some(texts(&[name])),
            Command::ShowAll => Some(texts(&["name", "setting", "description"])),
            Command::Fetch {
                cursor,
                wanted: true,
                ..
            } => self.portals.get(cursor)?.progress.schema().cloned(),
            _ => None,
        }
    }

    /// Tells the columns of a portal; a query begins with it, and is not planned twice.
    pub(super) async fn describe_portal(
        &mut self,
        portal: &mut Portal,
        extended: bool,
    ) -> Result<(), Halt> {
        let statement = Arc::clone(&portal.statement);
        let schema = match portal.progress.wants(&statement) {
            Some(Command::Query) => {
                self.begin(portal).await?;
                portal.progress.schema().cloned()
            }
            Some(command) => self.columns(command),
            None => None,
        };
        let Some(schema) = schema else {
            if extended {
                self.out.message(&NoData::new())?;
            }
            return Ok(());
        };
        self.out
            .message(&rows::description(&schema, &portal.formats))?;
        Ok(())
    }
}
