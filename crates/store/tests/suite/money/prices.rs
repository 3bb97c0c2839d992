//! Price lists: a draft first, in force when a person says so.

use levqor_core::audit::Actor;
use levqor_core::money::{Lookup, PriceBook};
use levqor_store::{BookKind, Error};

use crate::world::*;

const HEADER: &str = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens";

each_engine! {
    async fn a_list_is_in_force_once_it_is_activated_and_own_prices_stand_in_front(world: World) {
        let by = Actor::system();
        let priced = async |model: &str| match world.store.price_book().await.unwrap().find("p", model) {
            Lookup::Priced(price) => price.max_output_tokens,
            _ => None,
        };
        assert_eq!(world.store.price_book().await.unwrap().list().len(), PriceBook::embedded().list().len());

        let list = format!("{HEADER}\np,a,priced,1,2,100\np,b,priced,1,2,100\n");
        let draft = world.store.import_prices(BookKind::List, "by hand", &list, &by, NOON).await.unwrap();
        let again = world.store.import_prices(BookKind::List, "by hand", &list, &by, NOON + 1).await.unwrap();
        assert_eq!((&draft, draft.status.as_str()), (&again, "draft"));
        assert_eq!(priced("a").await, None, "a draft is not in force");
        world.store.activate_prices(&draft.id, &by, NOON).await.unwrap();
        let own = format!("{HEADER}\np,a,priced,1,2,999\n");
        let own = world.store.import_prices(BookKind::Own, "contract", &own, &by, NOON).await.unwrap();
        world.store.activate_prices(&own.id, &by, NOON).await.unwrap();

        assert_eq!((priced("a").await, priced("b").await), (Some(999), Some(100)));
        let next = world.store.import_prices(BookKind::List, "by hand", &format!("{HEADER}\np,c,priced,1,2,7\n"), &by, NOON).await.unwrap();
        world.store.activate_prices(&next.id, &by, NOON).await.unwrap();
        assert_eq!((priced("a").await, priced("b").await, priced("c").await), (Some(999), None, Some(7)));
        assert_eq!(world.store.find_price_book(&draft.id).await.unwrap().unwrap().status, "retired");
        world.store.activate_prices(&draft.id, &by, NOON).await.unwrap();
        assert_eq!(priced("b").await, Some(100), "and back");
    }

    async fn a_price_is_found_by_its_id_for_ever(world: World) {
        let price = PriceBook::embedded().list()[0].clone();
        assert_eq!(world.store.find_price(&price.id()).await.unwrap(), None);

        world.store.keep_price(&price).await.unwrap();
        world.store.keep_price(&price).await.unwrap();

        assert_eq!(world.store.find_price(&price.id()).await.unwrap(), Some(price));
    }

    async fn what_is_no_price_list_is_not_stored(world: World) {
        let bad = world.store.import_prices(BookKind::List, "x", &format!("{HEADER}\np,a,priced,0,2,100\n"), &Actor::system(), NOON).await;

        assert!(matches!(&bad, Err(Error::Conflict { what }) if what.starts_with("line 2: input_usd_per_mtok is 0")), "{bad:?}");
        let unknown = world.store.activate_prices("list-x", &Actor::system(), NOON).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "price book" })), "{unknown:?}");
        assert_eq!(world.number("select count(*) from price_books").await, 0);
    }
}
