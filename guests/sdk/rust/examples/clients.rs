//! No example, but for this crate's tests: each client once, and the answers as text. The tests compare the requests with
//! what Dapr's own protobuf code reads in them.

use std::fmt::{Debug, Write};
use std::time::Duration;

use guesthouse_dapr::{self as dapr, *};

#[dapr::on_invoke]
fn clients(event: Event) -> Result<Reply> {
    let mut told = String::new();
    let mut tell = |what: &dyn Debug| writeln!(told, "{what:?}");
    let store = state("store");
    tell(&store.get("k").strong().metadata("a", "b").header("x-a", "b").timeout(Duration::from_secs(5)).send()?)?;
    tell(&store.get_bulk(["k", "l"]).parallelism(2).metadata("a", "b").send()?)?;
    let item = Item::new("k", "v").etag("7").first_write().strong().metadata("ttlInSeconds", "9");
    tell(&store.save(item.clone()).send()?)?;
    tell(&store.save_all([("k", "v").into(), Item::new("l", [0xff]).last_write()]).send()?)?;
    tell(&store.delete("k").etag("7").first_write().strong().metadata("a", "b").send()?)?;
    let operations = [Operation::Upsert(item), Operation::Delete(("l", "").into())];
    tell(&store.transaction(operations).metadata("a", "b").send()?)?;
    let results = topic("pubsub", "results");
    tell(&results.publish("data").content_type("text/plain").metadata("rawPayload", "true").send()?)?;
    let messages = [Message::new("one", "text/plain"), Message::new([0xff], "application/octet-stream")];
    tell(&results.publish_bulk(messages).metadata("a", "b").send()?)?;
    tell(&app("other").invoke("PATCH", "price", "data").content_type("text/plain").query("a=b").send()?)?;
    tell(&app("other").get("price").send()?)?;
    tell(&binding("mail").invoke("create", "data").metadata("a", "b").send()?)?;
    tell(&secrets("vault").get("key").metadata("version_id", "2").send()?)?;
    tell(&secrets("vault").all().send()?)?;
    tell(&configuration("config").get(["k", "l"]).metadata("a", "b").send()?)?;
    tell(&lock("locks").take("r", "me", 60).send()?)?;
    tell(&lock("locks").give_back("r", "me").send()?)?;
    tell(&job("sweep").every("@daily").data("data").repeats(3).starting("10s").ttl("1h").overwrite().send()?)?;
    tell(&job("sweep").once("10s").send()?)?;
    tell(&job("sweep").get().send()?)?;
    tell(&job("sweep").delete().send()?)?;
    tell(&actor("Cart", "7").invoke("add", "data").metadata("a", "b").send()?)?;
    tell(&call("GetWorkflowBeta1", proto::Writer::new().text(1, &event.name()).done()).send()?)?;
    log(Level::Warning, "all clients were used", &[("colour", &config("colour").unwrap_or_default())]);
    tell(&(time_left() > Duration::ZERO, event.all_metadata(), event.verb(), event.trigger(), event.content_type()))?;
    Ok(told.into())
}

/// The calls of an actor's own turn.
#[dapr::on_actor]
fn own(event: Event) -> Result<Reply> {
    let turn = Turn::from(event);
    let mut told = String::new();
    let mut tell = |what: &dyn Debug| writeln!(told, "{what:?}");
    tell(&turn.read("k").send()?)?;
    tell(&turn.write([Change::set("k", "v").metadata("ttlInSeconds", "9")]).send()?)?;
    tell(&turn.write([Change::remove("l")]).send()?)?;
    tell(&turn.save_now().send()?)?;
    tell(&turn.set_timer("tick", "1s").every("2s").callback("again").data("data").ttl("9s").send()?)?;
    tell(&turn.clear_timer("tick").send()?)?;
    tell(&turn.set_reminder("daily", "1s").every("2s").data("data").ttl("9s").send()?)?;
    tell(&turn.clear_reminder("daily").send()?)?;
    Ok(told.into())
}
