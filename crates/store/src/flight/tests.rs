//! Messages in and out, and messages that are damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
use arrow::datatypes::Int32Type;
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::utils::flight_data_to_arrow_batch;
use futures::TryStreamExt as _;

use super::decode::Decoder;
use super::encode::{self, Encoder};
use super::*;

/// Ten orders, one text through a dictionary.
fn batch() -> RecordBatch {
    let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; 10])) };
    let whole = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number; 10])) };
    let syms: DictionaryArray<Int32Type> = vec!["ABC"; 10].into_iter().collect();
    RecordBatch::try_from_iter([
        ("time", whole(1_704_441_600_000_000_000)),
        ("sym", Arc::new(syms) as ArrayRef),
        ("eventType", texts("new")),
        ("trader", texts("T1")),
        ("side", texts("B")),
        ("orderID", texts("7")),
        ("price", texts("72.25")),
        ("quantity", whole(500)),
    ])
    .unwrap()
}

fn messages() -> Vec<FlightData> {
    let batches = futures::stream::iter([Ok(batch())]);
    let encoder = FlightDataEncoderBuilder::new()
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(batches);
    futures::executor::block_on(encoder.try_collect()).unwrap()
}

fn decode(messages: &[FlightData]) -> Result<Vec<OrderBatch>, String> {
    let mut decoder = Decoder::default();
    let taken = messages.iter().map(|message| decoder.take(message));
    taken.filter_map(Result::transpose).collect()
}

#[test]
fn rows_in_and_out_are_the_same() {
    let mut orders = decode(&messages()).unwrap().remove(0);
    assert_eq!(orders.len(), 10);
    orders.number_from(100);
    let sent = Encoder::default().orders(&orders, 117).unwrap();
    let [message] = &sent[..] else {
        panic!("one message")
    };
    assert_eq!(&message.app_metadata[..], b"{\"next_seq\":117}");
    let schema = schema_of(Topic::Orders);
    let none = std::collections::HashMap::new();
    let read = flight_data_to_arrow_batch(message, Arc::clone(&schema), &none).unwrap();
    assert_eq!(read.num_rows(), 10);
    let again = [encode::schema(&schema), message.clone()];
    assert_eq!(decode(&again).unwrap()[0].row(9), orders.row(9));
}

#[test]
fn what_comes_out_of_order_is_refused() {
    let messages = messages();
    let before = decode(&messages[1..]).unwrap_err();
    assert!(before.contains("before any schema"), "{before}");
    let twice = decode(&[messages[0].clone(), messages[0].clone()]).unwrap_err();
    assert!(twice.contains("another schema"), "{twice}");
    let nonsense = FlightData {
        data_header: vec![1, 2, 3].into(),
        ..FlightData::default()
    };
    let nonsense = decode(&[nonsense]).unwrap_err();
    assert!(nonsense.contains("is no Arrow message"), "{nonsense}");
}

/// Every byte of every message, changed: it is refused, or read as other rows; a reader that panics
/// costs its stream alone, and none may hang, or take memory that the message does not have.
#[test]
fn damaged_messages_do_no_harm() {
    let whole = messages();
    let (mut refused, mut panicked) = (0, 0);
    for at in 0..whole.len() {
        let length = whole[at].data_header.len() + whole[at].data_body.len();
        for byte in 0..length {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                let header = damaged[at].data_header.len();
                let part = match byte < header {
                    true => &mut damaged[at].data_header,
                    false => &mut damaged[at].data_body,
                };
                let mut bytes = part.to_vec();
                let place = if byte < header { byte } else { byte - header };
                bytes[place] ^= change;
                *part = bytes.into();
                match std::panic::catch_unwind(|| decode(&damaged)) {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => refused += 1,
                    Err(_) => panicked += 1,
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused} refused, {panicked} panicked");
}
