//! A component for `dapr:guest`, made with wit-bindgen. An invocation does what its method says; every other event is
//! answered with what the guest knows of it. The tests call all of it.

wit_bindgen::generate!({
    path: [
        "../../abi/guesthouse_abi/wit/dapr-guest.wit",
        "../../abi/guesthouse_abi/wit/wasi-keyvalue.wit",
    ],
    inline: r#"
        package guests:dapr-component;

        world dapr-component {
            include dapr:guest/imports@1.0.0;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            export dapr:guest/invocation-callback@1.0.0;
            export dapr:guest/pubsub-callback@1.0.0;
            export dapr:guest/bindings-callback@1.0.0;
            export dapr:guest/jobs-callback@1.0.0;
            export dapr:guest/operations-callback@1.0.0;
            export dapr:guest/actors-callback@1.0.0;
            export dapr:guest/actors-lifecycle@1.0.0;
        }
    "#,
    generate_all,
});

use dapr::guest::runtime::{self, Level};
use dapr::guest::sidecar::{self, Call};
use dapr::guest::types::{Again, Event, Failure, Reply};
use wasi::keyvalue::{atomics, batch, store};

struct Guest;
export!(Guest);

fn reply(data: impl Into<Vec<u8>>) -> Result<Reply, Failure> {
    let (content_type, headers, text, retry_after) = (None, Vec::new(), None, None);
    Ok(Reply { data: data.into(), content_type, status: 200, headers, text, retry_after, stop: false })
}

/// What the event is, one fact a line.
fn facts(kind: &str, event: Event) -> Result<Reply, Failure> {
    let mut metadata = event.metadata;
    metadata.sort();
    reply(format!(
        "{kind} {}\n{} bytes {:?}\n{:?} {:?} {:?} {:?}\n{metadata:?}\n{:?}\n{:?}\n",
        event.name,
        event.data.len(),
        event.content_type,
        event.verb,
        event.query,
        event.path,
        event.id,
        event.topic,
        event.actor
    ))
}

/// The state store `store`, by wasi:keyvalue.
fn keyvalue(what: &str, key: &str, data: &[u8]) -> Result<Reply, store::Error> {
    let bucket = store::open("store")?;
    let told = match what {
        "set" => bucket.set(key, data).map(|()| String::new())?,
        "delete" => bucket.delete(key).map(|()| String::new())?,
        "exists" => bucket.exists(key)?.to_string(),
        "get" => return Ok(reply(bucket.get(key)?.unwrap_or(b"none".to_vec())).unwrap()),
        "increment" => atomics::increment(&bucket, key, data.len() as i64)?.to_string(),
        "swap" => {
            let cas = atomics::Cas::new(&bucket, key)?;
            let before = cas.current()?;
            match atomics::swap(cas, data) {
                Ok(()) => format!("swapped {before:?}"),
                Err(atomics::CasError::StoreError(error)) => return Err(error),
                Err(atomics::CasError::CasFailed(cas)) => format!("changed {:?}", cas.current()?),
            }
        }
        "many" => {
            batch::set_many(&bucket, &[(format!("{key}1"), b"one".to_vec()), (format!("{key}2"), Vec::new())])?;
            let keys = [format!("{key}2"), format!("{key}3"), format!("{key}1")];
            let found = format!("{:?}", batch::get_many(&bucket, &keys)?);
            batch::delete_many(&bucket, &keys)?;
            found
        }
        _ => format!("{:?}", bucket.list_keys(None).map(|page| page.keys)?),
    };
    Ok(reply(told).unwrap())
}

/// Two calls at once.
fn both(data: &[u8]) -> Result<Reply, Failure> {
    let start = |method: &str, request: &[u8]| {
        Call::start(method, request, &[("x-one".to_string(), "1".to_string())], Some(20_000)).map_err(Failure::Failed)
    };
    let (first, second) = (start("GetState", data)?, start("NoSuchMethod", &[])?);
    let any = sidecar::wait_any(&[&first, &second], None);
    let all = sidecar::wait_all(&[&first, &second], Some(20_000));
    let error = second.response().unwrap().unwrap_err();
    let response = first.response().unwrap().map(|message| message.len());
    let metadata = first.response_metadata().is_some();
    let none = sidecar::wait_any(&[], None);
    reply(format!("{} {all} {:?} {metadata} {:?} {none:?} {:?}", any.is_some(), first.status(), error.code, response.is_ok()))
}

impl exports::dapr::guest::invocation_callback::Guest for Guest {
    fn on_invoke(event: Event) -> Result<Reply, Failure> {
        let name = event.name.clone();
        let (what, rest) = name.split_once('/').unwrap_or((&name, ""));
        let text = || String::from_utf8_lossy(&event.data).into_owned();
        match what {
            "echo" => {
                let mut made = reply(event.data)?;
                made.content_type = event.content_type;
                made.headers = vec![("x-one".into(), "1".into()), ("grpc-status".into(), "0".into())];
                Ok(made)
            }
            "status" => {
                let mut made = reply(event.data)?;
                made.status = rest.parse().unwrap();
                made.retry_after = Some(1500);
                Ok(made)
            }
            "fail" => Err(Failure::Failed(text())),
            "retry" => Err(Failure::Retry(Again { text: text(), after: Some(2500) })),
            "drop" => Err(Failure::Drop(text())),
            "trap" => panic!(),
            "relay" => match sidecar::invoke(rest, &event.data, &[]) {
                Ok(message) => reply(message),
                Err(error) => reply(format!("{:?}: {}", error.code, error.text)),
            },
            "both" => both(&event.data),
            "runtime" => {
                runtime::log(Level::Warning, "a line", &[("key".to_string(), "value".to_string())]);
                let left = runtime::time_left();
                reply(format!("{:?} {:?} {}", runtime::config("colour"), runtime::config("absent"), left > 0))
            }
            "kv" => {
                let (what, key) = rest.split_once('/').unwrap_or((rest, ""));
                keyvalue(what, key, &event.data).or_else(|error| reply(format!("{error:?}")))
            }
            _ => facts("invoke", event),
        }
    }
}

impl exports::dapr::guest::pubsub_callback::Guest for Guest {
    fn on_topic_event(event: Event) -> Result<Reply, Failure> {
        facts("topic", event)
    }
}

impl exports::dapr::guest::bindings_callback::Guest for Guest {
    fn on_binding_event(event: Event) -> Result<Reply, Failure> {
        facts("binding", event)
    }
}

impl exports::dapr::guest::jobs_callback::Guest for Guest {
    fn on_job_event(event: Event) -> Result<Reply, Failure> {
        facts("job", event)
    }
}

impl exports::dapr::guest::operations_callback::Guest for Guest {
    fn on_operation(event: Event) -> Result<Reply, Failure> {
        facts("operation", event)
    }
}

impl exports::dapr::guest::actors_callback::Guest for Guest {
    fn on_invoke(event: Event) -> Result<Reply, Failure> {
        facts("actor", event)
    }

    fn on_timer(event: Event) -> Result<Reply, Failure> {
        let mut made = facts("timer", event)?;
        made.stop = true;
        Ok(made)
    }

    fn on_reminder(event: Event) -> Result<Reply, Failure> {
        facts("reminder", event)
    }
}

impl exports::dapr::guest::actors_lifecycle::Guest for Guest {
    fn activate(event: Event) -> Result<Reply, Failure> {
        facts("activate", event)
    }

    fn deactivate(event: Event) -> Result<Reply, Failure> {
        facts("deactivate", event)
    }
}
