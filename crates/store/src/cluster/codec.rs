//! How a plan is written for other processes: DataFusion's and Ballista's nodes as they write them, and
//! of ours the rows that are lent.
//!
//! Invariant: what is written here is read by a process of the same version.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use prost::Message;

use super::dial::Dialer;
use super::lent::LentExec;

/// What stands before our nodes. No message of Ballista's begins with it.
const OURS: &[u8] = b"\0tapewatch\0";

/// Writes and reads nodes.
#[derive(Debug, Default)]
pub(super) struct Codec {
    ballista: BallistaPhysicalExtensionCodec,
    /// How an executor reaches who lends it rows.
    dialer: Option<Dialer>,
}

impl Codec {
    /// Of an executor.
    pub(super) fn of_executor(dialer: Dialer) -> Self {
        Self {
            ballista: BallistaPhysicalExtensionCodec::default(),
            dialer: Some(dialer),
        }
    }
}

/// [`LentExec`] as bytes.
#[derive(Clone, PartialEq, Message)]
struct Lent {
    #[prost(string, tag = "1")]
    at: String,
    #[prost(string, tag = "2")]
    ticket: String,
    #[prost(bytes = "vec", tag = "3")]
    schema: Vec<u8>,
}

fn wrong(error: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Internal(format!("lent rows: {error}"))
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(ours) = buf.strip_prefix(OURS) else {
            return self.ballista.try_decode(buf, inputs, ctx, proto_converter);
        };
        let lent = Lent::decode(ours).map_err(wrong)?;
        let schema = Schema::try_from(IpcMessage(lent.schema.into())).map_err(wrong)?;
        let dialer = self.dialer.clone();
        Ok(Arc::new(LentExec::new(
            lent.at,
            lent.ticket,
            Arc::new(schema),
            dialer,
        )))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(lent) = node.downcast_ref::<LentExec>() else {
            return self.ballista.try_encode(node, buf, proto_converter);
        };
        let (schema, options) = (lent.schema(), IpcWriteOptions::default());
        let schema = IpcMessage::try_from(SchemaAsIpc::new(&schema, &options)).map_err(wrong)?;
        let lent = Lent {
            at: lent.at.clone(),
            ticket: lent.ticket.clone(),
            schema: schema.0.to_vec(),
        };
        buf.extend_from_slice(OURS);
        lent.encode(buf).map_err(wrong)
    }
}
