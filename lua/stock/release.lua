--[[
stock/release: give the units of these orders back to the sale, reserved or sold alike.

KEYS[1]    stock:{SALE:PARTITION}:meta       hash   epoch, version, state, writes
KEYS[2]    stock:{SALE:PARTITION}:units      hash   L<sku> left (there since the units were held), R<sku> reserved,
                                                    S<sku> sold, G<sku> releases, V<sku> and W<sku>: below
KEYS[3]    stock:{SALE:PARTITION}:due        zset   "order_id units sku buyer" of open reservations, by expiry
KEYS[4]    stock:{SALE:PARTITION}:buyers     hash   "sku buyer" -> units held, for SKUs with a limit
KEYS[5..]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer", one a SKU of the batch
ARGV[1]    epoch
ARGV[2]    now_ms, Unix milliseconds
ARGV[3]    sellable_ms: units that come back to a dry SKU are not sold again before then
ARGV[4]    msgpack: a list of {order_id, sku, buyer, units, which of KEYS[5..] (from 1)}   at most 1000

Returns  {changed, writes}   how many gave units back now (an order that holds none changes nothing but is closed for ever);
                             the partition's writes
Errors   STALE epoch, TOOMANY               nothing was changed
Cost     O(orders), bounded by 1000: three reads and at most seven writes each

Why units of a dry SKU wait: workers answer "sold out" for it from memory, but for those who hold units. They learn who
does in the background; until all of them have had the time to, nobody new may get any (V<sku> units until W<sku>).
]]
local meta, units_key, due, buyers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, now, sellable = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local have = redis.call("HMGET", meta, "epoch", "writes")
if have[1] ~= epoch then return redis.error_reply("STALE " .. (have[1] or "none")) end
local claims = cmsgpack.unpack(ARGV[4])
if #claims > 1000 then return redis.error_reply("TOOMANY " .. #claims) end
local changed, wrote = 0, false
for i = 1, #claims do
  local id, sku, buyer, units = claims[i][1], claims[i][2], claims[i][3], claims[i][4]
  local held = KEYS[4 + claims[i][5]]
  local kept = redis.call("HGET", held, id)
  local state, had, who = string.match(kept or "", "^(%a) (%d+) %d+ (.*)$")
  if state == "R" or state == "S" then
    redis.call("HSET", held, id, "X" .. string.sub(kept, 2))
    redis.call("ZREM", due, id .. " " .. had .. " " .. sku .. " " .. who)
    local row = redis.call("HMGET", units_key, "L" .. sku, "V" .. sku, "W" .. sku)
    local waiting = (row[3] and now < tonumber(row[3])) and tonumber(row[2]) or 0
    if tonumber(row[1]) - waiting <= 0 then
      redis.call("HSET", units_key, "V" .. sku, waiting + had, "W" .. sku, sellable)
    end
    redis.call("HINCRBY", units_key, state .. sku, -had)
    redis.call("HINCRBY", units_key, "L" .. sku, had)
    -- Who remembers the holders of a sold-out SKU sees by this number that they have changed.
    redis.call("HINCRBY", units_key, "G" .. sku, 1)
    local key = sku .. " " .. who
    if redis.call("HEXISTS", buyers, key) == 1 then redis.call("HINCRBY", buyers, key, -had) end
    changed, wrote = changed + 1, true
  elseif not state then
    -- Nothing is held under this id and nothing ever may be: a late reserve must hear "released".
    redis.call("HSET", held, id, "X " .. units .. " 0 " .. buyer)
    redis.call("HINCRBY", units_key, "G" .. sku, 0) -- there, so that whoever lists what was held looks here
    wrote = true
  end
end
if not wrote then return { 0, tonumber(have[2] or 0) } end
return { changed, redis.call("HINCRBY", meta, "writes", 1) }
