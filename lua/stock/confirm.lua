--[[
stock/confirm: these orders are durable, their reserved units are sold.

KEYS[1]    stock:{SALE:PARTITION}:meta       hash   epoch, version, state
KEYS[2]    stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total), R<sku> reserved,
                                                    S<sku> sold
KEYS[3]    stock:{SALE:PARTITION}:due        zset   "order_id units sku buyer" of open reservations, by expiry
KEYS[4..]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer", one a SKU of the batch
ARGV[1]    epoch
ARGV[2]    msgpack: a list of {order_id, sku, buyer, units, which of KEYS[4..] (from 1)}   at most 1000

Returns  how many changed now; an order that is sold already changes nothing
Errors   STALE epoch, TOOMANY               nothing was changed
Cost     O(orders), bounded by 1000: two reads and at most four writes each
]]
local meta, units_key, due, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local have = redis.call("HGET", meta, "epoch")
if have ~= epoch then return redis.error_reply("STALE " .. (have or "none")) end
local claims = cmsgpack.unpack(ARGV[2])
if #claims > 1000 then return redis.error_reply("TOOMANY " .. #claims) end
local changed = 0
for i = 1, #claims do
  local id, sku, buyer, units = claims[i][1], claims[i][2], claims[i][3], claims[i][4]
  local held = KEYS[3 + claims[i][5]]
  local kept = redis.call("HGET", held, id)
  local state = kept and string.sub(kept, 1, 1)
  if state == "R" then
    redis.call("HSET", held, id, "S" .. string.sub(kept, 2))
    redis.call("ZREM", due, id .. " " .. units .. " " .. sku .. " " .. buyer)
    redis.call("HINCRBY", units_key, "R" .. sku, -units)
    redis.call("HINCRBY", units_key, "S" .. sku, units)
    changed = changed + 1
  elseif state ~= "S" then
    -- The reservation was lost with the server's memory, but the database has the order: it is sold all the
    -- same, and what is left goes down with it (below zero if it must, so that nobody else gets those units).
    redis.call("HSET", held, id, "S " .. units .. " 0 " .. buyer)
    local row = redis.call("HMGET", units_key, "L" .. sku, "I" .. sku)
    local left = tonumber(row[1] or string.match(row[2] or "", "^%d+ (%d+)") or 0)
    redis.call("HSET", units_key, "L" .. sku, left - units)
    redis.call("HINCRBY", units_key, "S" .. sku, units)
    changed = changed + 1
  end
end
return changed
