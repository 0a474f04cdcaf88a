//! A plain MongoDB client for tests: reads what stands in a collection.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};

use super::canonical::{self, Leaves};

/// A client with a runtime of its own.
pub struct Mongo {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Mongo {
    /// Connects lazily.
    pub fn connect(uri: &str) -> Mongo {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(Client::with_uri_str(uri)).unwrap();
        Mongo { runtime, client }
    }

    /// How many documents a collection has.
    pub fn count(&self, database: &str, collection: &str) -> u64 {
        let collection = self.client.database(database).collection::<Document>(collection);
        self.runtime.block_on(async { collection.count_documents(doc! {}).await }).unwrap_or(0)
    }

    /// All documents by the text of their `_id`.
    pub fn documents(&self, database: &str, collection: &str) -> BTreeMap<String, Leaves> {
        let collection = self.client.database(database).collection::<Document>(collection);
        self.runtime.block_on(async {
            let mut documents = BTreeMap::new();
            let mut cursor = collection.find(doc! {}).batch_size(10_000).await.unwrap();
            while let Some(document) = cursor.try_next().await.unwrap() {
                let mut leaves = canonical::from_bson(&document);
                let id = leaves.remove("_id").unwrap();
                documents.insert(id, leaves);
            }
            documents
        })
    }

    /// Removes a database.
    pub fn drop_database(&self, database: &str) {
        let _ = self.runtime.block_on(async { self.client.database(database).drop().await });
    }
}
