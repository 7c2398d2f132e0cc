// Owns what the two grids export after one push of the ten demo orders. Sequence numbers and the
// alert's id are the server's affair: the test reads them from the page and puts them in.
const rows = [
  "2015-04-17T12:00:00.000000000Z,SNDL,new,SpoofingTrader,S,SPG-Oid10,1.25,1000",
  "2015-04-17T12:00:01.000000000Z,SNDL,new,SpoofingTrader,S,SPG-Oid11,1.25,1100",
  "2015-04-17T12:00:04.000000000Z,SNDL,new,SpoofingTrader,S,SPG-Oid12,1.25,1200",
  "2015-04-17T12:00:05.000000000Z,SNDL,cancelled,SpoofingTrader,S,SPG-Oid10,1.25,1000",
  "2015-04-17T12:00:05.000000000Z,SNDL,new,SpoofingTrader,S,SPG-Oid13,1.23,1300",
  "2015-04-17T12:00:06.000000000Z,SNDL,new,SpoofingTrader,B,SPG-Oid14,1.25,2000",
  "2015-04-17T12:00:10.000000000Z,SNDL,cancelled,SpoofingTrader,S,SPG-Oid12,1.25,1200",
  "2015-04-17T12:00:11.000000000Z,SNDL,cancelled,SpoofingTrader,S,SPG-Oid11,1.25,1100",
  "2015-04-17T12:00:12.000000000Z,SNDL,filled,SpoofingTrader,B,SPG-Oid14,1.25,2000",
  "2015-04-17T12:00:20.000000000Z,SNDL,cancelled,SpoofingTrader,S,SPG-Oid13,1.23,1300",
];
export const ordersCsv = (seqs) =>
  [
    "seq,time,sym,event_type,trader,side,order_id,price,quantity",
    ...rows.map((row, at) => `${seqs[at]},${row}`),
    "",
  ].join("\r\n");

/** The ten demo orders of another trader, as a file to publish. */
export const ordersOf = (trader) =>
  ["time,sym,event_type,trader,side,order_id,price,quantity", ...rows, ""]
    .join("\n")
    .replaceAll("SpoofingTrader", trader);

export const alertsCsv = (alertId, seq) =>
  [
    "severity,detector,sym,trader,side,time,hits,cancel_quantity,cancel_count,order_id,price,quantity,first_time,seq,alert_id,suppressed",
    `30,spoofing,SNDL,SpoofingTrader,S,2015-04-17T12:00:20.000000000Z,1,4600,4,SPG-Oid13,1.23,1300,2015-04-17T12:00:20.000000000Z,${seq},${alertId},`,
    "",
  ].join("\r\n");
