-- What the other statements are about; made before each run and after each statement that took it away.
CREATE TABLE orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), amount DECIMAL(10, 2), updated_at DATETIME) PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 PROPERTIES ("enable_persistent_index" = "true");
CREATE TABLE t (a INT, b BIGINT, c VARCHAR(20), d DOUBLE, e DATE) DUPLICATE KEY(a, b) COMMENT 'rows' DISTRIBUTED BY RANDOM BUCKETS 2 ORDER BY (c) PROPERTIES ('replication_num' = '1');
CREATE TABLE s (k INT NOT NULL, v INT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 1;
CREATE TABLE every (k BIGINT NOT NULL, bo BOOLEAN, ti TINYINT, sm SMALLINT, i INT DEFAULT '7', la LARGEINT, f FLOAT, d DOUBLE, de DECIMAL(38, 10), da DATE, dt DATETIME DEFAULT CURRENT_TIMESTAMP, ch CHAR(10), vc VARCHAR(100) NOT NULL DEFAULT "x" COMMENT 'a text', st STRING) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 3;
