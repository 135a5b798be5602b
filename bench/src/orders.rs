//! The order table of suite (a), and its events: new orders, and updates whose age falls off over 20 days.

use std::fmt::Write;

use starling_tests::Random;

/// About 100 bytes a row.
pub const CREATE: &str = "CREATE TABLE orders (order_id BIGINT NOT NULL, dt DATE, user_id BIGINT, merchant_id INT, status TINYINT, \
     city SMALLINT, amount DECIMAL(10, 2), items INT, created DATETIME, updated DATETIME, sku VARCHAR(20)) \
     PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 4";

/// Days that the orders spread over.
pub const DAYS: u64 = 20;

/// Makes rows as CSV.
pub struct Orders {
    random: Random,
    /// Orders that are there: 0 to `count`.
    pub count: u64,
}

impl Orders {
    pub fn new(seed: u64) -> Orders {
        Orders { random: Random::new(seed), count: 0 }
    }

    /// `rows` new orders.
    pub fn inserts(&mut self, rows: u64) -> String {
        let mut csv = String::with_capacity(rows as usize * 110);
        for _ in 0..rows {
            let order = self.count;
            self.count += 1;
            self.row(order, 1, &mut csv);
        }
        csv
    }

    /// `rows` orders as a table has them that lives by `events`: three updates an order leave one in twenty (e^-3) without any, and the
    /// statuses that updates give are equally frequent among the others.
    pub fn settled(&mut self, rows: u64) -> String {
        let mut csv = String::with_capacity(rows as usize * 110);
        for _ in 0..rows {
            let status = if self.random.below(20) == 0 { 1 } else { self.updated_status() };
            self.count += 1;
            self.row(self.count - 1, status, &mut csv);
        }
        csv
    }

    fn updated_status(&mut self) -> u64 {
        2 + self.random.below(5)
    }

    /// A quarter new orders, three quarters updates.
    pub fn events(&mut self, rows: u64) -> String {
        let mut csv = String::with_capacity(rows as usize * 110);
        for _ in 0..rows {
            if self.random.below(4) == 0 {
                self.count += 1;
                self.row(self.count - 1, 1, &mut csv);
            } else {
                let (order, status) = (self.old_order(), self.updated_status());
                self.row(order, status, &mut csv);
            }
        }
        csv
    }

    /// Half of the updates are of the newest day, half of the rest of the day before, and so on.
    fn old_order(&mut self) -> u64 {
        let day = (self.count / DAYS).max(1);
        let mut back = 0;
        while back < DAYS - 1 && self.random.below(2) == 0 {
            back += 1;
        }
        let age = back * day + self.random.below(day);
        self.count - 1 - age.min(self.count - 1)
    }

    fn row(&mut self, order: u64, status: u64, csv: &mut String) {
        let (day, second) = (1 + order % DAYS, self.random.below(86_400));
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let r = self.random.bits() >> 8;
        writeln!(
            csv,
            "{order},2026-01-{day:02},{},{},{status},{},{}.{:02},{},2026-01-{day:02} {hour:02}:{minute:02}:{:02},\
             2026-01-{day:02} 23:{minute:02}:{:02},SKU-{:08}",
            r % 5_000_000,
            r % 10_000,
            r % 300,
            1 + r % 9000,
            r % 100,
            1 + r % 9,
            second % 60,
            second % 60,
            r % 100_000
        )
        .expect("writing to a String cannot fail");
    }
}
