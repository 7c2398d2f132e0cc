//! Doing what a statement wants.
//!
//! Invariant: in a transaction that failed nothing is done but to end it, as PostgreSQL has it; nothing
//! is written, so that to commit and to roll back are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use pgwire::messages::extendedquery::PortalSuspended;
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use tokio::io::{AsyncRead, AsyncWrite};

use super::command::Command;
use super::copy::CopyFormat;
use super::errors::Failure;
use super::rows::{self, Form, Formats, Rows};
use super::session::{Halt, Session};
use super::statement::{Portal, Progress, Statement, texts};
use crate::query::{AskedLimits, Door, Request};

impl<S: AsyncRead + AsyncWrite + Send> Session<S> {
    /// Does what a portal's statement wants; of its rows at most so many are given, 0 for all.
    pub(super) async fn perform(&mut self, portal: &mut Portal, most: u32) -> Result<(), Halt> {
        let statement = Arc::clone(&portal.statement);
        let Some(command) = portal.progress.wants(&statement) else {
            return Ok(self.out.message(&EmptyQueryResponse::new())?);
        };
        let ends = matches!(command, Command::End { .. } | Command::Nothing("ROLLBACK"));
        if self.status == TransactionStatus::Error && !ends {
            let text = "the transaction failed: it is to be rolled back before anything else";
            return Err(Failure::new("25P02", text).into());
        }
        match command {
            Command::Query => self.rows_of(portal, most).await,
            Command::Begin => {
                self.status = TransactionStatus::Transaction;
                Ok(self.complete("BEGIN")?)
            }
            Command::End { kept, word } => {
                // What failed cannot be kept.
                let failed = *kept && self.status == TransactionStatus::Error;
                self.status = TransactionStatus::Idle;
                self.portals.retain(|_, portal| portal.kept);
                Ok(self.complete(if failed { "ROLLBACK" } else { word })?)
            }
            Command::Nothing(word) => {
                if *word == "ROLLBACK" && self.status == TransactionStatus::Error {
                    self.status = TransactionStatus::Transaction;
                }
                Ok(self.complete(*word)?)
            }
            Command::Set { name, value } => {
                let told = self.settings.set(name, value.as_deref())?;
                if let Some((name, value)) = told {
                    self.out
                        .message(&ParameterStatus::new(name.to_owned(), value))?;
                }
                Ok(self.complete("SET")?)
            }
            Command::Reset => {
                self.settings.reset();
                Ok(self.complete("RESET")?)
            }
            Command::Show(name) => self.show(name).await,
            Command::ShowAll => self.show_all().await,
            Command::Discard => {
                self.statements.clear();
                self.portals.clear();
                self.settings.reset();
                Ok(self.complete("DISCARD ALL")?)
            }
            Command::Deallocate(name) => self.deallocate(name.as_deref()),
            Command::Declare { cursor, kept } => self.declare(portal, cursor, *kept).await,
            Command::Fetch {
                cursor,
                rows,
                wanted,
            } => {
                self.fetch(cursor, *rows, wanted.then_some(&portal.formats))
                    .await
            }
            Command::CloseCursor(name) => self.close(name.as_deref()),
            Command::Copy(format) => self.copy(portal, format).await,
        }
    }

    async fn show(&mut self, name: &str) -> Result<(), Halt> {
        let value = self.settings.get(name).map(str::to_owned);
        let value =
            value.ok_or_else(|| Failure::new("42704", format!("there is no setting {name}")))?;
        self.answer(texts(&[name]), vec![vec![value]], "SHOW").await
    }

    async fn show_all(&mut self) -> Result<(), Halt> {
        let all = self.settings.all();
        let all = all.map(|(name, value)| vec![name.to_owned(), value.to_owned(), String::new()]);
        let (columns, all) = (texts(&["name", "setting", "description"]), all.collect());
        self.answer(columns, all, "SHOW").await
    }

    /// Begins the query of a portal, if it did not begin yet.
    pub(super) async fn begin(&mut self, portal: &mut Portal) -> Result<(), Halt> {
        if self.status == TransactionStatus::Error {
            let text = "the transaction failed: it is to be rolled back before anything else";
            return Err(Failure::new("25P02", text).into());
        }
        match &portal.progress {
            Progress::Before => {}
            Progress::Within(rows) => {
                self.cancellable.runs(Some(rows.id().to_owned()));
                return Ok(());
            }
            Progress::Behind(_) => return Ok(()),
        }
        let statement: &Statement = &portal.statement;
        let id = self.store.new_query_id();
        self.cancellable.runs(Some(id.clone()));
        let request = Request {
            text: statement.query().to_owned(),
            parameters: portal.values.clone(),
            limits: AskedLimits {
                time: self.settings.timeout(),
                ..AskedLimits::default()
            },
            door: Door::Postgres,
            id: Some(id),
        };
        let store = self.store.clone();
        let result = self.beside(store.query(request)).await?;
        let result = result.map_err(|error| statement.failure(&error))?;
        let columns = result.schema().fields().len();
        if !portal.formats.fit(columns) {
            let text = format!("formats of other than the {columns} columns came");
            return Err(Failure::new("08P01", text).into());
        }
        portal.progress = Progress::Within(Box::new(Rows::new(result)));
        Ok(())
    }

    async fn rows_of(&mut self, portal: &mut Portal, most: u32) -> Result<(), Halt> {
        self.begin(portal).await?;
        let most = match most {
            0 => u64::MAX,
            most => most.into(),
        };
        let form = Form::Messages(portal.formats.clone());
        let given = self.give(portal, most, Some(&form)).await?;
        match portal.progress {
            // A client that wants as many as there are asks once more, and is told that there are none.
            Progress::Within(_) => Ok(self.out.message(&PortalSuspended::new())?),
            _ => Ok(self.complete(format!("SELECT {given}"))?),
        }
    }

    /// Gives rows of a portal that has begun, or passes over them: how many. When they ended, it is
    /// behind them.
    async fn give(
        &mut self,
        portal: &mut Portal,
        most: u64,
        form: Option<&Form>,
    ) -> Result<u64, Halt> {
        let Progress::Within(rows) = &mut portal.progress else {
            return Ok(0);
        };
        let mut given = 0;
        while given < most {
            let next = self.beside(rows.next(most - given)).await?;
            let Some(batch) = next.map_err(|error| portal.statement.failure(&error))? else {
                let schema = Arc::clone(rows.schema());
                portal.progress = Progress::Behind(schema);
                return Ok(given);
            };
            given += batch.num_rows() as u64;
            if let Some(form) = form {
                let bytes = rows::bytes(&self.store, batch, form).await;
                let bytes = bytes.map_err(|error| portal.statement.failure(&error))?;
                self.out.bytes(&bytes).await?;
            }
        }
        Ok(given)
    }

    /// Rows of texts, without their columns.
    async fn answer(
        &mut self,
        schema: SchemaRef,
        rows: Vec<Vec<String>>,
        tag: &str,
    ) -> Result<(), Halt> {
        let columns = (0..schema.fields().len()).map(|column| -> ArrayRef {
            let texts = rows.iter().map(|row| row.get(column).map(String::as_str));
            Arc::new(texts.collect::<StringArray>())
        });
        let batch = RecordBatch::try_new(schema, columns.collect());
        let batch = batch.map_err(|error| Failure::new("XX000", error.to_string()))?;
        let bytes = rows::bytes(&self.store, batch, &Form::Messages(Formats::default())).await;
        let bytes = bytes.map_err(|error| Failure::new("XX000", error.to_string()))?;
        self.out.bytes(&bytes).await?;
        Ok(self.complete(tag)?)
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<(), Halt> {
        match name {
            None => self.statements.clear(),
            Some(name) => {
                let removed = self.statements.remove(name);
                removed.ok_or_else(|| {
                    Failure::new("26000", format!("there is no prepared statement {name:?}"))
                })?;
            }
        }
        Ok(self.complete(if name.is_none() {
            "DEALLOCATE ALL"
        } else {
            "DEALLOCATE"
        })?)
    }

    async fn declare(&mut self, portal: &mut Portal, cursor: &str, kept: bool) -> Result<(), Halt> {
        if self.status == TransactionStatus::Idle && !kept {
            let text = "a cursor lives in a transaction: begin one, or declare it WITH HOLD";
            return Err(Failure::new("25P01", text).into());
        }
        if self.portals.contains_key(cursor) {
            let text = format!("there is a cursor {cursor:?} already");
            return Err(Failure::new("42P03", text).into());
        }
        self.has_place(cursor)?;
        let mut declared = Portal {
            statement: Arc::clone(&portal.statement),
            values: std::mem::take(&mut portal.values),
            formats: Formats::default(),
            progress: Progress::Before,
            kept,
        };
        self.begin(&mut declared).await?;
        self.portals.insert(cursor.to_owned(), declared);
        Ok(self.complete("DECLARE CURSOR")?)
    }

    /// Rows of a cursor; without formats they are passed over.
    async fn fetch(
        &mut self,
        cursor: &str,
        rows: Option<u64>,
        formats: Option<&Formats>,
    ) -> Result<(), Halt> {
        let mut portal = self.take_portal(cursor)?;
        self.begin(&mut portal).await?;
        if let (Some(formats), Some(schema)) = (formats, portal.progress.schema())
            && !formats.fit(schema.fields().len())
        {
            return Err(Failure::new("08P01", "formats of other columns came").into());
        }
        let form = formats.map(|formats| Form::Messages(formats.clone()));
        let given = self
            .give(&mut portal, rows.unwrap_or(u64::MAX), form.as_ref())
            .await?;
        self.portals.insert(cursor.to_owned(), portal);
        let word = if formats.is_some() { "FETCH" } else { "MOVE" };
        Ok(self.complete(format!("{word} {given}"))?)
    }

    fn close(&mut self, name: Option<&str>) -> Result<(), Halt> {
        match name {
            None => {
                self.portals.clear();
                Ok(self.complete("CLOSE CURSOR ALL")?)
            }
            Some(name) => {
                drop(self.take_portal(name)?);
                Ok(self.complete("CLOSE CURSOR")?)
            }
        }
    }

    async fn copy(&mut self, portal: &mut Portal, format: &CopyFormat) -> Result<(), Halt> {
        self.begin(portal).await?;
        let Some(schema) = portal.progress.schema().cloned() else {
            return Ok(());
        };
        let columns = schema.fields().len();
        let count = i16::try_from(columns);
        let count = count.map_err(|_| Failure::new("54000", "there are too many columns"))?;
        self.out
            .message(&CopyOutResponse::new(0, count, vec![0; columns]))?;
        if format.header {
            let names = schema.fields().iter().map(|field| field.name());
            let line = format.header_line(names);
            let line = line.map_err(|error| Failure::new("54000", error.to_string()))?;
            self.out.bytes(&line).await?;
        }
        let form = Form::Copy(format.clone());
        let given = self.give(portal, u64::MAX, Some(&form)).await?;
        self.out.message(&CopyDone::new())?;
        Ok(self.complete(format!("COPY {given}"))?)
    }
}
