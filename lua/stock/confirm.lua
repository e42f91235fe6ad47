--[[
stock/confirm: these orders are durable, their reserved units are sold.

KEYS[1]    stock:{SALE:PARTITION}:meta       hash   epoch, version, state, writes
KEYS[2]    stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total), R<sku> reserved,
                                                    S<sku> sold
KEYS[3]    stock:{SALE:PARTITION}:due        zset   "order_id units sku buyer" of open reservations, by expiry
KEYS[4]    stock:{SALE:PARTITION}:buyers     hash   "sku buyer" -> units held, for SKUs with a limit
KEYS[5..]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer", one a SKU of the batch
ARGV[1]    epoch
ARGV[2]    msgpack: a list of {order_id, sku, buyer, units, which of KEYS[5..] (from 1)}   at most 1000

Returns  {changed, writes}   how many orders changed now; the partition's writes. An order that is sold or released already
                             changes nothing (what gave its units back is cancelled or fenced: a confirm that comes late
                             must not take them again)
Errors   STALE epoch, TOOMANY               nothing was changed
Cost     O(orders), bounded by 1000: two reads and at most four writes each
]]
local meta, units_key, due, buyers, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local have = redis.call("HMGET", meta, "epoch", "writes")
if have[1] ~= epoch then return redis.error_reply("STALE " .. (have[1] or "none")) end
local claims = cmsgpack.unpack(ARGV[2])
if #claims > 1000 then return redis.error_reply("TOOMANY " .. #claims) end
local changed = 0
for i = 1, #claims do
  local id, sku, buyer, units = claims[i][1], claims[i][2], claims[i][3], claims[i][4]
  local held = KEYS[4 + claims[i][5]]
  local kept = redis.call("HGET", held, id)
  local state = kept and string.sub(kept, 1, 1)
  if state == "R" then
    redis.call("HSET", held, id, "S" .. string.sub(kept, 2))
    redis.call("ZREM", due, id .. " " .. units .. " " .. sku .. " " .. buyer)
    redis.call("HINCRBY", units_key, "R" .. sku, -units)
    redis.call("HINCRBY", units_key, "S" .. sku, units)
    changed = changed + 1
  elseif not state then
    -- The reservation was lost with the server's memory, but the database has the order: it is sold all the
    -- same, and what is left goes down with it (below zero if it must, so that nobody else gets those units).
    redis.call("HSET", held, id, "S " .. units .. " 0 " .. buyer)
    local row = redis.call("HMGET", units_key, "L" .. sku, "I" .. sku)
    local total, limit = string.match(row[2] or "", "^%d+ (%d+) (%d+)$")
    redis.call("HSET", units_key, "L" .. sku, tonumber(row[1] or total or 0) - units)
    -- Its buyer holds them too, or would get as many again beyond the limit.
    if limit and limit ~= "0" then redis.call("HINCRBY", buyers, sku .. " " .. buyer, units) end
    redis.call("HINCRBY", units_key, "S" .. sku, units)
    changed = changed + 1
  end
end
if changed == 0 then return { 0, tonumber(have[2] or 0) } end
return { changed, redis.call("HINCRBY", meta, "writes", 1) }
